"""Everything a report says: each run, what runs differ in, their maps and pictures, and what had to be left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comix_fast.console import Reporter
from comix_fast.errors import ComixError
from comix_fast.report import MAX_MB
from comix_fast.report.gathering.embedding_map import MapAsked, MapMade, Maps
from comix_fast.report.gathering.over_first import over_first
from comix_fast.report.gathering.pictured import NONE, PicturesAsked, add_pictures
from comix_fast.report.gathering.plain import plain
from comix_fast.report.gathering.readings import Reading
from comix_fast.report.gathering.recipe_rows import differences
from comix_fast.report.gathering.run_values import run_values
from comix_fast.version import __version__

_NOTES = 4096
"""Bytes that notes on the page's own size may take."""
_NO_MAP = "left out, as asked"
Size = Callable[[Mapping[str, Any]], int]


@dataclass(frozen=True)
class ReportAsked:
    """What a report is to hold. maps: None for none; cap: bytes that the page is to stay below.

    command, on: as the page says how and when it was made.
    """

    command: str
    on: str
    maps: MapAsked | None = field(default_factory=MapAsked)
    pictures: PicturesAsked = field(default_factory=PicturesAsked)
    cap: int = round(MAX_MB * 1e6)


def gather(readings: Sequence[Reading], asked: ReportAsked, size: Size, reporter: Reporter) -> dict[str, Any]:
    """The values of a report page of these runs; their form is that which static/report.js takes.

    size: the bytes of a page of some values, which decides how much room there is for pictures.
    Raises ComixError if a cache, a seed or a folder of videos was named and is of no use to any of the runs.
    """
    runs = [run_values(reading, name) for reading, name in zip(readings, _names(readings), strict=True)]
    for run, over in zip(runs, over_first(readings), strict=True):
        run["over_first"] = over
    notes: list[str] = []
    maps: list[MapMade] = []
    if asked.maps is None:
        for run in runs:
            run["map_missing"] = _NO_MAP
    else:
        maps = _add_maps(runs, readings, asked.maps, reporter)
        notes += dict.fromkeys(note for made in maps for note in made.notes)
    values = {
        "made": {"version": __version__, "command": asked.command, "on": asked.on},
        "notes": notes,
        "differences": differences([run["recipe"] for run in runs]),
        "pictures": dict(NONE),
        "runs": runs,
    }
    bare = size(plain(values))
    if bare > asked.cap:
        notes.append(_over_cap(values, bare, asked.cap, size))
    values["pictures"] = add_pictures(maps, asked.pictures, asked.cap - bare, reporter)
    return dict(plain(values))


def _over_cap(values: Mapping[str, Any], bare: int, cap: int, size: Size) -> str:
    """The note of a page that is too large without a picture: only what makes it small enough, or may, is advised."""
    ways, runs = [], values["runs"]
    if any(run["map"] for run in runs):
        without = size(plain({**values, "runs": [{**run, "map": None} for run in runs]}))
        if without <= cap:
            ways.append("ask for fewer --map-videos")
    if len(runs) > 1:
        ways.append("name fewer runs")
    ways.append(f"allow --max-size {math.ceil((bare + _NOTES) / 1e5) / 10:g}")
    return (
        f"the page takes {_mb(bare)} without any picture, more than the {_mb(cap)} of --max-size: {', or '.join(ways)}"
    )


def _add_maps(
    runs: Sequence[dict[str, Any]], readings: Sequence[Reading], asked: MapAsked, reporter: Reporter
) -> list[MapMade]:
    """Sets "map" of each run, or "map_missing"; the maps that were made."""
    maps, made, first = Maps(asked, reporter), [], None
    for run, reading in zip(runs, readings, strict=True):
        try:
            one = maps.make(reading)
        except ComixError as error:
            run["map_missing"] = _sentence(error)
            first = first or error
            continue
        run["map"] = one.values
        made.append(one)
    if first is not None and not made and (asked.cache is not None or asked.seed is not None):
        # What was asked for by name is of no use to anyone: not a page without maps is what was wanted.
        raise first
    return made


def _sentence(error: ComixError) -> str:
    """An error as one line of a page: what, and the way out."""
    return "; ".join(part for part in (error.message, *error.details, error.hint) if part)


def _names(readings: Sequence[Reading]) -> list[str]:
    """What runs are called: by their folders, or by their paths where folders share a name."""
    names = [reading.folder.root.resolve().name for reading in readings]
    return names if len(set(names)) == len(names) else [reading.shown for reading in readings]


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"

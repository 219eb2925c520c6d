"""`comix report`: one page of one run, or of several side by side."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.console import Reporter
from comix_fast.errors import ComixError, RunError, first_few
from comix_fast.printable import printable
from comix_fast.report import MAX_MB
from comix_fast.report.gathering import MapAsked, PicturesAsked, ReportAsked, gather, read_run
from comix_fast.report.page import page_bytes, render, require_page, require_replaceable, write
from comix_fast.report.report_page import TEMPLATE, report_page
from comix_fast.stages.runs import RUN, SOURCE_ONLY

MOST_RUNS = 12
"""Columns that still stand side by side."""
REPORT = "report.html"


@dataclass(frozen=True)
class Options:
    """As typed. max_size: in MB, 10⁶ bytes; maps, pictures: whether they are wanted."""

    out: Path | None = None
    seed: int | None = None
    cache: Path | None = None
    videos: Path | None = None
    max_size: float = MAX_MB
    map_videos: int = 3000
    k: int = 5
    maps: bool = True
    pictures: bool = True


@dataclass(frozen=True)
class Reported:
    """A page that was written. notes: what is not on it, or could not be had."""

    path: Path
    n_bytes: int
    runs: tuple[str, ...]
    notes: tuple[str, ...]


def run(paths: Sequence[Path], options: Options, reporter: Reporter) -> Reported:
    """Reads the runs, gathers, writes the page; nothing is written if a run can't be read.

    Raises RunError for a run that is absent or damaged and for more than MOST_RUNS, ComixError for options that lead
    nowhere.
    """
    named = named_runs(paths)
    out = options.out or default_out(named)
    readings = [read_run(path) for path in named]
    _require_sense(options, out)
    asked = _asked(paths, options)
    values = gather(readings, asked, lambda values: len(render(report_page(values)).encode()), reporter)
    n_bytes = write(report_page(values), out)
    return Reported(out, n_bytes, tuple(run["name"] for run in values["runs"]), tuple(_notes(values)))


def named_runs(paths: Sequence[Path]) -> list[Path]:
    """The runs that paths stand for: themselves, or all runs in a folder of runs; each once, in the order given."""
    found: dict[Path, Path] = {}
    for path in paths:
        inside = [] if (path / RUN).exists() else sorted((one.parent for one in path.glob(f"*/{RUN}")), key=_natural)
        for one in inside or [path]:
            found.setdefault(one.resolve(), one)
    if len(found) > MOST_RUNS:
        names = first_few((printable(str(one)) for one in found.values()), 3)
        raise RunError(
            f"these are {len(found):,} runs, and a page takes {MOST_RUNS} at most: {names}",
            hint="name some of them: comix report RUN RUN …",
        )
    return list(found.values())


def _natural(path: Path) -> list[tuple[int, str]]:
    """Names with numbers in them by these: lr=9 before lr=10; source-only, which others are held against, first."""
    if path.name == SOURCE_ONLY:
        return []
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def default_out(runs: Sequence[Path]) -> Path:
    """report.html in the run, or for several in the folder of runs that holds them all; else in the current one."""
    if len(runs) == 1:
        return runs[0] / REPORT
    parents, here = [one.resolve().parent for one in runs], Path.cwd().resolve()
    common = Path(os.path.commonpath(parents))
    if common not in parents:
        # What they share is no folder of runs, and may be /.
        return Path(REPORT)
    return (common.relative_to(here) if common.is_relative_to(here) else common) / REPORT


def _require_sense(options: Options, out: Path) -> None:
    """Before minutes are spent on a page that can't be written, would take the place of another file, or lacks what
    was asked for."""
    if options.videos is not None and not options.videos.exists():
        raise ComixError(
            f"there is no {options.videos}", hint="--videos takes a dataset's TOML file or the folder the ids begin in"
        )
    if options.out is None:
        require_replaceable(out, TEMPLATE, "--out")
    else:
        require_page(out, "--out")


def _asked(paths: Sequence[Path], options: Options) -> ReportAsked:
    threads = os.cpu_count() or 1
    maps = MapAsked(options.seed, options.cache, options.map_videos, options.k, threads) if options.maps else None
    return ReportAsked(
        command=typed(paths, options),
        on=datetime.now(UTC).date().isoformat(),
        maps=maps,
        pictures=PicturesAsked(options.videos, options.pictures, threads),
        cap=page_bytes(options.max_size),
    )


def typed(paths: Sequence[Path], options: Options) -> str:
    """The command that makes this page, as it is typed: options at their defaults left out."""
    words = ["comix", "report", *map(str, paths)]
    for one in fields(Options):
        value = getattr(options, one.name)
        if value == one.default:
            continue
        name = one.name.replace("_", "-").removesuffix("s" if one.name == "maps" else "")
        if value is False:
            words.append(f"--no-{name}")
        else:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _notes(values: Mapping[str, Any]) -> list[str]:
    """The page's notes, and what each run has no map for."""
    notes = list(values["notes"])
    several = len(values["runs"]) > 1
    for run in values["runs"]:
        told = [f"no map: {run['map_missing']}"] if run["map_missing"] else []
        notes += [f"{run['name']}: {note}" if several else note for note in (*run["notes"], *told)]
    if note := values["pictures"]["note"]:
        notes.append(note if note.startswith("no pictures") else f"pictures: {note}")
    return list(dict.fromkeys(printable(note) for note in notes))


def to_json(done: Reported) -> dict[str, Any]:
    """For --json."""
    return {"report": str(done.path), "bytes": done.n_bytes, "runs": list(done.runs), "notes": list(done.notes)}


def closing(done: Reported) -> RenderableType:
    """Where the page is, what it takes, what is not on it."""
    notes = [Text(note, style="dim") for note in done.notes]
    of = f"{len(done.runs)} runs" if len(done.runs) > 1 else done.runs[0]
    return Group(*notes, Text(f"report {done.path}: {of}, {done.n_bytes / 1e6:,.2f} MB"))

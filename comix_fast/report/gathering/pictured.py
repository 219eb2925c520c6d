"""Pictures of the videos on a page's maps: each once, however many runs show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.cache import FeatureCache
from comix_fast.console import Reporter
from comix_fast.pictures import Footage, Pictures, gather_pictures
from comix_fast.report.gathering.embedding_map import MapMade

NONE: Mapping[str, Any] = {"kind": "none", "note": "no pictures of videos, as asked", "items": []}
KEY_BYTES = 40
"""What a picture takes in the page beside its address: its size, and the names of these."""
NOTE_BYTES = 4096
"""What the notes about pictures take there."""


@dataclass(frozen=True)
class PicturesAsked:
    """videos: where they are, for Footage.of; wanted: whether any are to be shown; threads: that decode."""

    videos: Path | None = None
    wanted: bool = True
    threads: int = 1


def add_pictures(maps: Sequence[MapMade], asked: PicturesAsked, room: int, reporter: Reporter) -> dict[str, Any]:
    """The page's "pictures": stills that take at most `room` bytes in it; sets each map's "picture" and "picture_note".

    Raises ComixError if `asked.videos` is not where videos of the caches are.
    """
    if not maps:
        return {**NONE, "note": "no pictures of videos: they are shown on maps, and there is none"}
    if not asked.wanted:
        for made in maps:
            made.values["picture_note"] = NONE["note"]
        return dict(NONE)
    items: list[dict[str, Any]] = []
    notes, kinds = [], set()
    for cache, mine in _by_cache(maps):
        ids = list(dict.fromkeys(video["id"] for made in mine for video in made.values["videos"]))
        taken = sum(len(item["src"]) for item in items) + KEY_BYTES * (len(items) + len(ids))
        left = room - NOTE_BYTES * len(maps) - taken
        found = gather_pictures(
            Footage.of(cache, asked.videos),
            ids,
            kind="still" if left > 0 else "none",
            cap_bytes=max(0, left),
            reporter=reporter,
            threads=asked.threads,
        )
        note = found.note if left > 0 else "no pictures: the page has no room left for them (--max-size)"
        _place(mine, found, note, items)
        notes.append(note)
        kinds.add(found.kind)
    return {"kind": "still" if "still" in kinds else "none", "note": "; ".join(dict.fromkeys(notes)), "items": items}


def _by_cache(maps: Sequence[MapMade]) -> list[tuple[FeatureCache, list[MapMade]]]:
    found: dict[Path, tuple[FeatureCache, list[MapMade]]] = {}
    for made in maps:
        found.setdefault(made.cache.path, (made.cache, []))[1].append(made)
    return list(found.values())


def _place(maps: Sequence[MapMade], found: Pictures, note: str, items: list[dict[str, Any]]) -> None:
    """Adds a cache's pictures to the page's, and their numbers to its maps."""
    numbers: dict[str, int] = {}
    for video, picture in found.by_id.items():
        numbers[video] = len(items)
        items.append({"src": picture.data_uri, "w": picture.width, "h": picture.height})
    for made in maps:
        made.values["picture_note"] = note
        for video in made.values["videos"]:
            video["picture"] = numbers.get(video["id"])

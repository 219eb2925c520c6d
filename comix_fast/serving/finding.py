"""Which videos a user means by naming files, folders of frames and folders of videos."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from comix_fast.datasets import natural_key
from comix_fast.datasets.naming import LOOKED_FOR, is_frame_name, is_video_name
from comix_fast.errors import DatasetError, first_few

Place = tuple[int, int]
"""A folder's device and number, the same by whatever name it is reached."""


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """Every video meant, each once, in the order of the paths; folders are walked in natural order.

    A file is taken as it is, whatever its name. In folders, files of a known suffix are videos, and so is a folder
    with frames and no video file in it; hidden names are passed over, links followed. What can't be opened is kept:
    whoever reads it says why. Raises DatasetError if none of the paths is there, or no video lies in them.
    """
    kinds = {path: _status(path) for path in paths}
    if paths and not any(kinds.values()):
        raise DatasetError(f"there is no file or folder {first_few(str(path) for path in kinds)}")
    found: dict[Path, None] = {}
    for path, status in kinds.items():
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        found |= dict.fromkeys(_walk(path, ()) if is_folder else [path])
    if not found:
        where = f"in {first_few(str(path) for path in kinds)}" if kinds else "was named"
        raise DatasetError(f"no video {where}", [LOOKED_FOR], hint="name files, folders of frames or folders of videos")
    return list(found)


def _walk(folder: Path, above: tuple[Place, ...]) -> Iterator[Path]:
    """The videos in a folder, or the folder itself where it holds frames or can't be listed."""
    try:
        status = folder.stat()
        with os.scandir(folder) as listing:
            entries = sorted(
                (entry for entry in listing if not entry.name.startswith(".")),
                key=lambda entry: natural_key(entry.name),
            )
        folders = {entry.name for entry in entries if entry.is_dir()}
    except OSError:
        yield folder
        return
    place = status.st_dev, status.st_ino
    if place in above:  # a link back to where the walk came from
        return
    files = [entry.name for entry in entries if entry.name not in folders]
    if not any(map(is_video_name, files)) and any(map(is_frame_name, files)):
        yield folder
        return
    for entry in entries:
        if entry.name in folders:
            yield from _walk(folder / entry.name, (*above, place))
        elif is_video_name(entry.name):
            yield folder / entry.name


def read_list(content: bytes) -> list[Path]:
    """The paths of a list, one a line, as the system spells names; empty lines are passed over."""
    lines = (line.removesuffix(b"\r") for line in content.split(b"\n"))
    return [Path(os.fsdecode(line)) for line in lines if line.strip()]


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None

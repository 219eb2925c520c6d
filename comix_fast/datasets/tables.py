"""Lists of videos as CSV tables of `path,label`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comix_fast.datasets.model import Video
from comix_fast.datasets.text_files import read_lines, shown
from comix_fast.errors import DatasetError, first_few
from comix_fast.printable import is_plain, printable

_PATH_HEADERS = ("path", "video", "file")
_LABEL_HEADERS = ("label", "class")

LONGEST_PATH = 4096
"""Characters of a path: what Linux takes, at least as many bytes."""

_SHOWN = 80


@dataclass(frozen=True)
class Row:
    """One line of a list: its number in the file, the video as written, the label as written or None."""

    line: int
    video: str
    label: str | None


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV of `path,label`, or of paths alone; a header and empty lines are passed over.

    Raises DatasetError if it can't be read, is no UTF-8, is empty, or a row has another form or a path that
    is empty, too long, or holds control characters.
    """
    rows: list[Row] = []
    faults: list[str] = []
    for line, written in _lines(path):
        cells = [cell.strip() for cell in written]
        if not any(cells) or (not rows and not faults and _is_header(cells)):
            continue
        if len(cells) > 2:
            faults.append(f"line {line}: {len(cells)} cells (put a path that holds a comma in double quotes)")
        elif not cells[0]:
            faults.append(f"line {line}: no path")
        elif len(cells[0]) > LONGEST_PATH:
            faults.append(f"line {line}: a path of {len(cells[0]):,} characters")
        elif not is_plain(cells[0]):
            faults.append(f"line {line}: control characters in {printable(ascii(cells[0]), _SHOWN)}")
        else:
            rows.append(Row(line, cells[0], cells[1] if len(cells) == 2 and cells[1] else None))
    if faults:
        raise DatasetError(
            f"{len(faults):,} of {len(faults) + len(rows):,} lines of {path} are not `path,label`",
            [*faults[:5], *_more(len(faults) - 5)],
        )
    if not rows:
        raise DatasetError(f"{path} lists no video", hint="each line is `path,label`")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(read_lines(path), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{shown(path)} is no CSV: {error} (line {reader.line_num:,})") from error


def _is_header(cells: Sequence[str]) -> bool:
    names = [cell.lower() for cell in cells]
    return names[0] in _PATH_HEADERS and all(name in _LABEL_HEADERS for name in names[1:])


def _more(count: int) -> list[str]:
    return [f"… and {count:,} more"] if count > 0 else []


def videos_of(
    rows: Sequence[Row], root: Path, classes: Sequence[str], where: str, *, unlabelled: bool
) -> tuple[Video, ...]:
    """The rows as videos under `root`; their ids are the paths as written.

    A label is a class's name or else its index. unlabelled: whether a label may be missing (a target's may).
    Nothing is looked up on disk. Raises DatasetError for missing labels, for labels outside the classes and for paths
    that lead out of `root` as they are written; links inside it may lead where they like.
    """
    indices = {str(index): index for index in range(len(classes))}
    indices.update({name: index for index, name in enumerate(classes)})
    absent = [row.video for row in rows if row.label is None]
    if absent and not unlabelled:
        raise DatasetError(
            f"{len(absent):,} of {len(rows):,} videos of {where} have no label",
            [first_few(absent)],
            "source videos need one; each line is `path,label`",
        )
    outside = [row for row in rows if row.label is not None and row.label not in indices]
    if outside:
        known = f"0 … {len(classes) - 1}, or {first_few(classes, 12)}"
        first = first_few(f"{printable(ascii(row.label), _SHOWN)} (line {row.line})" for row in outside)
        raise DatasetError(
            f"{len(outside):,} of {len(rows):,} labels of {where} are not among the {len(classes)} classes",
            [first, f"a label is one of {known}"],
        )
    _require_inside([row.video for row in rows], root, where)
    return tuple(Video(row.video, root / row.video, None if row.label is None else indices[row.label]) for row in rows)


def _require_inside(videos: Sequence[str], root: Path, where: str) -> None:
    top = os.path.join(os.path.normpath(root), "")  # noqa: PTH118 - ends in one "/", also where root is "/"
    out = [video for video in videos if _climbs(video) and not f"{os.path.normpath(root / video)}/".startswith(top)]
    if out:
        raise DatasetError(
            f"{len(out):,} of {len(videos):,} paths of {where} lead out of {printable(str(root))}",
            [first_few(out)],
            "a list names what lies below its root: set root to a folder above all of them, or change the paths",
        )


def _climbs(video: str) -> bool:
    """Whether a path may lead out of the folder it is joined to: only these can, and few lists have any."""
    return video.startswith("/") or ".." in video


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; empty lines are passed over. Raises DatasetError if the file can't be read."""
    return tuple(name for line in read_lines(path) if (name := line.strip()))

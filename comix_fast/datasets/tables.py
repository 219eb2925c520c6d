"""Lists of videos as CSV tables of `path,label`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comix_fast.datasets.model import Video
from comix_fast.datasets.naming import plain_name
from comix_fast.errors import DatasetError, first_few

_PATH_HEADERS = ("path", "video", "file")
_LABEL_HEADERS = ("label", "class")


@dataclass(frozen=True)
class Row:
    """One line of a list: its number in the file, the video as written, the label as written or None."""

    line: int
    video: str
    label: str | None


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV of `path,label`, or of paths alone; a header and empty lines are passed over.

    Raises DatasetError if it can't be read, is no UTF-8, is empty, or a row has another form or a path that
    is empty or holds control characters.
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
        elif not plain_name(cells[0]):
            faults.append(f"line {line}: control characters in {cells[0]!a}")
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


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader]
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}") from error
    except csv.Error as error:
        raise DatasetError(f"{path} is no CSV: {error}") from error


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
    Nothing is looked up on disk. Raises DatasetError for missing labels and for labels outside the classes.
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
        raise DatasetError(
            f"{len(outside):,} of {len(rows):,} labels of {where} are not among the {len(classes)} classes",
            [first_few(f"{row.label!a} (line {row.line})" for row in outside), f"a label is one of {known}"],
        )
    return tuple(Video(row.video, root / row.video, None if row.label is None else indices[row.label]) for row in rows)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; empty lines are passed over. Raises DatasetError if the file can't be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}") from error
    return tuple(line.strip() for line in text.split("\n") if line.strip())

"""Names that may stand in a list, an id or a path, the order of names, and what counts as a video."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from comix_fast.errors import DatasetError, first_few
from comix_fast.printable import is_plain, printable

VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg")
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
LOOKED_FOR = f"looked for a folder of frames, or {' '.join(VIDEO_SUFFIXES)}"

LONGEST_NAME = 200
"""Characters of the name of a class, a domain or a data set: they stand in tables and on axes."""

_DIGITS = re.compile(r"([0-9]+)")
_SHOWN = 80


def absolute(path: Path) -> Path:
    """The path from the root on, without `.` and `..`; links are not followed."""
    return Path(os.path.normpath(path.absolute()))


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which frame_2 comes before frame_10; the plain name decides between equals (a1, a01)."""
    parts = (part for part in _DIGITS.split(name) if part)
    key = tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
    return (*key, (-1, name))


def require_plain(names: Sequence[str], where: str) -> None:
    """Raises DatasetError for names that are not plain: control characters, newlines, no UTF-8, changed direction."""
    odd = [printable(ascii(name), _SHOWN) for name in names if not is_plain(name)]
    if odd:
        raise DatasetError(
            f"{len(odd):,} of {len(names):,} names in {where} hold control characters or are not UTF-8",
            [first_few(odd)],
            "rename them",
        )


def require_domain_names(source: str, target: str) -> None:
    """Raises DatasetError unless both are names that can stand before a "/" in an id, and differ."""
    for name in (source, target):
        if not name.strip() or "/" in name or not is_plain(name) or len(name) > LONGEST_NAME:
            called = printable(repr(name), _SHOWN)
            raise DatasetError(f"a domain can't be called {called}", hint="use letters, digits, spaces, - and _")
    if source == target:
        raise DatasetError(f"source and target are both called {source!r}", hint="give them different names")


def require_classes(classes: Sequence[str], where: str) -> tuple[str, ...]:
    """The class names, as they are.

    Raises DatasetError if there are fewer than two, or one is empty, too long, not plain or there twice. Names that
    look the same and are written in different Unicode forms (é as one sign or as two, NFC and NFD) are one name.
    """
    require_plain(classes, where)
    forms: dict[str, str] = {}
    for name in classes:
        forms.setdefault(one_form(name), name)
    counts = Counter(map(one_form, classes))
    twice = sorted(forms[form] for form, count in counts.items() if count > 1)
    if twice:
        raise DatasetError(
            f"{len(twice):,} of {len(classes):,} class names in {where} stand there more than once",
            [first_few(twice)],
        )
    if not all(name.strip() for name in classes):
        raise DatasetError(f"{where} has a class without a name")
    long = [f"{printable(name, _SHOWN)} ({len(name):,})" for name in classes if len(name) > LONGEST_NAME]
    if long:
        raise DatasetError(
            f"{len(long):,} of {len(classes):,} class names in {where} have more than {LONGEST_NAME} characters",
            [first_few(long)],
        )
    if len(classes) < 2:
        raise DatasetError(f"{where} names {len(classes)} class; two or more are needed")
    return tuple(classes)


def one_form(name: str) -> str:
    """A name in the one Unicode form in which names are compared (NFC); shown and kept is the name as written."""
    return unicodedata.normalize("NFC", name)


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def is_frame_name(name: str) -> bool:
    """Whether a file of this name is taken for a frame."""
    return Path(name).suffix.lower() in FRAME_SUFFIXES and not name.startswith(".")

"""Names that may stand in a list, an id or a path, the order of names, and what counts as a video."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from comix_fast.errors import DatasetError, first_few

VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg")
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
LOOKED_FOR = f"looked for a folder of frames, or {' '.join(VIDEO_SUFFIXES)}"

_DIGITS = re.compile(r"([0-9]+)")
_FORBIDDEN = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no text, separators of lines


def absolute(path: Path) -> Path:
    """The path from the root on, without `.` and `..`; links are not followed."""
    return Path(os.path.normpath(path.absolute()))


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which frame_2 comes before frame_10; the plain name decides between equals (a1, a01)."""
    parts = (part for part in _DIGITS.split(name) if part)
    key = tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)
    return (*key, (-1, name))


def plain_name(name: str) -> bool:
    """Whether a name holds no control character, no newline and no byte that isn't text."""
    return name.isprintable() or not any(unicodedata.category(sign) in _FORBIDDEN for sign in name)


def require_plain(names: Sequence[str], where: str) -> None:
    """Raises DatasetError if a name holds a control character, a newline or bytes that are no UTF-8."""
    odd = [ascii(name) for name in names if not plain_name(name)]
    if odd:
        raise DatasetError(
            f"{len(odd):,} of {len(names):,} names in {where} hold control characters or are not UTF-8",
            [first_few(odd)],
            "rename them",
        )


def require_domain_names(source: str, target: str) -> None:
    """Raises DatasetError unless both are names that can stand before a "/" in an id, and differ."""
    for name in (source, target):
        if not name.strip() or "/" in name or not plain_name(name):
            raise DatasetError(f"a domain can't be called {name!r}", hint="use letters, digits, spaces, - and _")
    if source == target:
        raise DatasetError(f"source and target are both called {source!r}", hint="give them different names")


def require_classes(classes: Sequence[str], where: str) -> tuple[str, ...]:
    """The class names. Raises DatasetError if there are fewer than two, or one is empty or twice there."""
    require_plain(classes, where)
    twice = sorted({name for name in classes if list(classes).count(name) > 1})
    if twice:
        raise DatasetError(
            f"{len(twice):,} of {len(classes):,} class names in {where} stand there more than once",
            [first_few(twice)],
        )
    if not all(name.strip() for name in classes):
        raise DatasetError(f"{where} has a class without a name")
    if len(classes) < 2:
        raise DatasetError(f"{where} names {len(classes)} class; two or more are needed")
    return tuple(classes)


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def is_frame_name(name: str) -> bool:
    """Whether a file of this name is taken for a frame."""
    return Path(name).suffix.lower() in FRAME_SUFFIXES and not name.startswith(".")

"""Folders of frames: one picture file a frame, as extracted data sets come."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from comix_fast.errors import first_few
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.resize import Frame

FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


class FolderStream(FrameStream):
    """A folder's .jpg, .jpeg and .png files in natural order (img_2 before img_10), converted to RGB.

    segment: the first and last frame *number* to give out, both included, a frame's number being the last
    digits of its name (frame_0000000001.jpg: 1). Each number in the segment must be there exactly once.
    Raises VideoError if the folder, or the segment of it, is empty.
    """

    def __init__(self, path: Path, segment: Segment | None = None) -> None:
        super().__init__(path)
        try:
            names = _frame_names(path, path.stat().st_mtime_ns)
        except OSError as error:
            raise self.error(f"can't be opened ({error.strerror})") from error
        if not names:
            raise self.error("is a folder without .jpg or .png frames")
        self._names = names if segment is None else self._segment_names(names, *segment)

    @property
    def files(self) -> tuple[Path, ...]:
        """The picture files behind the frames, in order."""
        return tuple(self.path / name for name in self._names)

    def _segment_names(self, names: tuple[str, ...], first: int, last: int) -> tuple[str, ...]:
        numbered: dict[int, str] = {}
        for name in names:
            number = _trailing_number(name)
            if number is None or not first <= number <= last:
                continue
            if number in numbered:
                raise self.error(f"frame {number} is there twice: {numbered[number]} and {name}")
            numbered[number] = name
        if not numbered:
            raise self.error(f"has no frames numbered {first:,} to {last:,}")
        missing = [str(number) for number in range(first, last + 1) if number not in numbered]
        if missing:
            raise self.error(
                f"lacks {len(missing):,} of the {last - first + 1:,} frames numbered {first:,} to {last:,}: "
                f"{first_few(missing)}"
            )
        return tuple(numbered[number] for number in range(first, last + 1))

    def _frames(self) -> Iterator[Frame]:
        return map(self._picture, self._names)

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        for number in numbers:
            if number >= len(self._names):
                raise self.too_short(len(self._names), numbers[-1])
            yield number, self._picture(self._names[number])

    def _picture(self, name: str) -> Frame:
        try:
            with Image.open(self.path / name) as picture:
                return np.asarray(picture.convert("RGB"))
        # PIL reports broken files by any of these; a SyntaxError is its word for a broken PNG.
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise self.error(f"{name} can't be read ({_one_line(error)})") from error

    def _count(self) -> int:
        return len(self._names)


@functools.lru_cache(maxsize=4)
def _frame_names(folder: Path, modified_ns: int) -> tuple[str, ...]:
    """Names of the frames in natural order; kept, as many segments may be cut from one folder."""
    names = (
        entry.name
        for entry in folder.iterdir()
        if entry.suffix.lower() in FRAME_SUFFIXES and not entry.name.startswith(".")
    )
    return tuple(sorted(names, key=_natural_order))


def _natural_order(name: str) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _trailing_number(name: str) -> int | None:
    digits = re.search(r"([0-9]+)$", Path(name).stem)
    return int(digits[1]) if digits else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

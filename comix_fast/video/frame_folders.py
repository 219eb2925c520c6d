"""Folders of frames: one picture file a frame, as extracted data sets come."""

from __future__ import annotations

import functools
import itertools
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from comix_fast.errors import SHOWN
from comix_fast.printable import printable
from comix_fast.video.containers import unreadable_kind
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.limits import Limits
from comix_fast.video.resize import Frame

LONGEST_REASON = 200

FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


PICTURES = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImageFile}
"""What a picture begins with, whatever its suffix, and who reads it. PIL itself would try all that it knows, some of
which run other programs or unpack without end, and has a limit of its own that these two don't ask for."""


class FolderStream(FrameStream):
    """A folder's .jpg, .jpeg and .png files in natural order (img_2 before img_10), converted to RGB.

    Pixels are taken as they are stored: alpha is left out, an animation gives its first picture, and the Exif
    orientation is not looked at, as in the published code (frames cut from videos carry none). 16 bits of grey are
    refused: which of them are the picture can't be told.

    segment: the first and last frame *number* to give out, both included, a frame's number being the last
    digits of its name (frame_0000000001.jpg: 1). Each number in the segment must be there exactly once.
    limits: a picture's size is read and held against them before its pixels are; the files are counted.
    Raises VideoError if the folder, or the segment of it, is empty, and if it holds too many files.
    """

    def __init__(self, path: Path, segment: Segment | None = None, limits: Limits | None = None) -> None:
        super().__init__(path, limits)
        most = self.limits.max_frames
        try:
            names = _frame_names(path, path.stat().st_mtime_ns, most + 1 if most else None)
        except OSError as error:
            raise self.error(f"can't be opened ({error.strerror})") from error
        self._refuse(self.limits.too_many(len(names), "files of frames"))
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
                twice = " and ".join(map(printable, (numbered[number], name)))
                raise self.error(f"frame {number} is there twice: {twice}")
            numbered[number] = name
        if not numbered:
            raise self.error(f"has no frames numbered {first:,} to {last:,}")
        # A list may ask for more numbers than can be gone through: the first few missing are looked for, not all.
        n_asked = last - first + 1
        if n_missing := n_asked - len(numbered):
            absent = (str(number) for number in itertools.count(first) if number not in numbered)
            shown = ", ".join(itertools.islice(absent, min(n_missing, SHOWN)))
            more = f", … and {n_missing - SHOWN:,} more" if n_missing > SHOWN else ""
            raise self.error(
                f"lacks {n_missing:,} of the {n_asked:,} frames numbered {first:,} to {last:,}: {shown}{more}"
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
        path = self.path / name
        shown = printable(name)
        try:
            if reason := unreadable_kind(path):
                raise self.error(f"{shown} can't be read: it {reason}")
            with _picture_file(path) as picture:
                if reason := self.limits.too_large(*picture.size):
                    raise self.error(f"{shown} {reason}")
                # PIL cuts 16 bits of grey off at 255 instead of scaling them.
                if picture.mode.startswith("I"):
                    raise self.error(f"{shown} has 16 bits of grey; convert it to 8, which of them show can't be told")
                picture.load()
                # PIL warns of a palette's transparency, which is left out as any alpha is.
                picture.info.pop("transparency", None)
                return np.asarray(picture.convert("RGB"))
        # PIL reports broken files by any of these; a SyntaxError is its word for a broken PNG.
        except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error, zlib.error) as error:
            raise self.error(f"{shown} can't be read ({_one_line(error)})") from error

    def _count(self) -> int:
        return len(self._names)


@functools.lru_cache(maxsize=4)
def _frame_names(folder: Path, modified_ns: int, most: int | None) -> tuple[str, ...]:
    """Names of the frames in natural order, `most` of any; kept, as many segments may be cut from one folder."""
    names = (
        entry.name
        for entry in folder.iterdir()
        if entry.suffix.lower() in FRAME_SUFFIXES and not entry.name.startswith(".")
    )
    return tuple(sorted(itertools.islice(names, most), key=_natural_order))


def _picture_file(path: Path) -> ImageFile.ImageFile:
    """A picture of which only the head has been read. Raises ValueError for other than JPEG and PNG."""
    with path.open("rb") as file:
        head = file.read(max(map(len, PICTURES)))
    for mark, kind in PICTURES.items():
        if head.startswith(mark):
            return kind(path)
    raise ValueError("it is neither a JPEG nor a PNG file")


def _natural_order(name: str) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _trailing_number(name: str) -> int | None:
    digits = re.search(r"([0-9]+)$", Path(name).stem)
    return int(digits[1]) if digits else None


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()), LONGEST_REASON) or type(error).__name__

"""How large a video may be before it is refused: what a stranger's file may cost at most."""

from __future__ import annotations

import math
from dataclasses import dataclass

from comix_fast.errors import ComixError

MAX_PIXELS = 2**26
"""Twice the 33 million pixels of an 8K picture; 8192×8192 of spherical video still fits."""

MAX_FRAMES = 10_000_000
"""Two days at 57 frames a second, or as many files in a folder."""

MAX_SECONDS = 172_800.0
"""Two days."""


@dataclass(frozen=True)
class Limits:
    """The most that one video may have; 0 lifts a limit. What is within them is read as if there were none.

    max_pixels: width · height of a picture. max_frames: frames of a video, files in a folder of frames.
    max_seconds: from the first to the last time stamp of a file.
    Raises ComixError for a limit below 0 and for one that is no number.
    """

    max_pixels: int = MAX_PIXELS
    max_frames: int = MAX_FRAMES
    max_seconds: float = MAX_SECONDS

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_frames", "max_seconds"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                option = f"--{name.replace('_', '-')}"
                raise ComixError(f"{option} is {value}; it must be 0 or more", hint="0 lifts the limit")

    def too_large(self, width: int, height: int) -> str:
        """Why pictures of this size are refused, in words that follow a file's name; nothing if they are not."""
        if not self.max_pixels or width * height <= self.max_pixels:
            return ""
        found = f"has pictures of {width:,}×{height:,} = {width * height:,} pixels"
        return f"{found}, {_more_than(f'{self.max_pixels:,}', '--max-pixels')}"

    def too_many(self, n_frames: int, what: str = "frames") -> str:
        """Why so many frames are refused, counted so far; nothing if they are not."""
        if not self.max_frames or n_frames <= self.max_frames:
            return ""
        return f"has {n_frames:,} {what} or more, {_more_than(f'{self.max_frames:,}', '--max-frames')}"

    def too_long(self, seconds: float, how: str = "lasts") -> str:
        """Why so many seconds are refused; nothing if they are not. how: what says so, "lasts" or "declares"."""
        if not self.max_seconds or seconds <= self.max_seconds:
            return ""
        return f"{how} {seconds:,.10g} s or more, {_more_than(f'{self.max_seconds:,.10g} s', '--max-seconds')}"

    @property
    def decoder_pixels(self) -> int:
        """What FFmpeg itself is told to refuse before it takes memory; 0 for nothing.

        It counts pictures as they are coded, up to whole blocks of 128 pixels, and its refusal does not say what it
        found. So it is given room: pictures a little beyond the limit are decoded, measured and named.
        """
        return 2 * self.max_pixels + 2**16 if self.max_pixels else 0


UNLIMITED = Limits(0, 0, 0)
"""No limit at all: for files that one trusts."""


def _more_than(limit: str, option: str) -> str:
    return f"more than the {limit} allowed ({option} sets the limit, 0 lifts it)"

"""What every source of frames offers, whichever way it is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from comix_fast.errors import VideoError
from comix_fast.printable import printable
from comix_fast.video.limits import Limits
from comix_fast.video.resize import Frame

Segment = tuple[int, int]
"""First and last frame of a part of a video, both included."""


class FrameStream(ABC):
    """The frames of one video in display order, uint8 [H, W, 3] RGB, all of one size; read once.

    name: the path, as errors give it: what can't be printed is written out.
    limits: what the video may have at most; the usual ones where none are given.
    fps: frames a second, None where nothing tells (folders of frames).
    n_read: frames given out so far.

    Iterating raises VideoError, its message one line that begins with the path, if a frame can't be
    decoded, if its size differs from those before, if the file ends early, if it goes beyond a limit or if there
    are no frames.
    """

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path = path
        self.name = printable(str(path))
        self.limits = Limits() if limits is None else limits
        self.fps: float | None = None
        self.n_read = 0
        self._begun = False
        self._size: tuple[int, ...] = ()

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Every frame, in order; raises VideoError."""

    @abstractmethod
    def _count(self) -> int:
        """The number of frames that _frames would give, found as cheaply as is exact."""

    @abstractmethod
    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """These frames of _frames, found as cheaply as is exact; raises too_short."""

    def close(self) -> None:  # noqa: B027 - a folder has nothing to let go of
        """Let the file go."""

    def __iter__(self) -> Iterator[Frame]:
        self._begin()
        for frame in self._frames():
            self._check_size(self.n_read, *frame.shape[:2])
            self.n_read += 1
            yield frame
        if self.n_read == 0:
            raise self.error("has no frames")

    def chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """In place of iterating: the frames of these numbers, counted from 0, ascending, each once.

        Each is what iterating gives at its number. Other frames are not converted, nor read where they need not
        be; nothing after the last number is. Raises VideoError as iterating does, as far as it reads, and if
        there are too few frames.
        """
        self._begin()
        if not numbers:
            return
        for number, frame in self._chosen(numbers):
            self._check_size(number, *frame.shape[:2])
            self.n_read += 1
            yield number, frame

    def count(self) -> int:
        """The exact number of frames, in place of reading them: nothing is converted or kept."""
        self._begin()
        n_frames = self._count()
        if n_frames == 0:
            raise self.error("has no frames")
        return n_frames

    def error(self, reason: str, hint: str = "") -> VideoError:
        """A VideoError about this video."""
        return VideoError(f"{self.name}: {reason}", hint=hint)

    def too_short(self, n_frames: int, wanted: int) -> VideoError:
        """The error where frame `wanted`, counted from 0, is asked for and there are only n_frames."""
        if n_frames == 0:
            return self.error("has no frames")
        return self.error(f"ends after {n_frames:,} frames; frame {wanted:,} (counted from 0) is asked for")

    def _check_size(self, number: int, height: int, width: int) -> None:
        """Raises VideoError if frame `number` is not of the size of those before."""
        if self._size and self._size != (height, width):
            was, now = (f"{across}×{down}" for down, across in (self._size, (height, width)))
            raise self.error(f"frame {number:,} is {now}, those before are {was}")
        self._size = (height, width)

    def _refuse(self, reason: str) -> None:
        """Raises VideoError where there is a reason."""
        if reason:
            raise self.error(reason)

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError(f"{self.name} has been read; a stream is read once, open another")
        self._begun = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

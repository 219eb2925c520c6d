"""What every source of frames offers, whichever way it is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from comix_fast.errors import VideoError
from comix_fast.video.resize import Frame

Segment = tuple[int, int]
"""First and last frame of a part of a video, both included."""


class FrameStream(ABC):
    """The frames of one video in display order, uint8 [H, W, 3] RGB, all of one size; read once.

    name: the path, as errors give it.
    fps: frames a second, None where nothing tells (folders of frames).
    n_read: frames given out so far.

    Iterating raises VideoError, its message one line that begins with the path, if a frame can't be
    decoded, if its size differs from those before, if the file ends early or if there are no frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.fps: float | None = None
        self.n_read = 0
        self._begun = False

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Every frame, in order; raises VideoError."""

    @abstractmethod
    def _count(self) -> int:
        """The number of frames that _frames would give, found as cheaply as is exact."""

    def close(self) -> None:  # noqa: B027 - a folder has nothing to let go of
        """Let the file go."""

    def __iter__(self) -> Iterator[Frame]:
        self._begin()
        shape: tuple[int, ...] = ()
        for frame in self._frames():
            if shape and frame.shape != shape:
                was, now = (f"{width}×{height}" for height, width, _ in (shape, frame.shape))
                raise self.error(f"frame {self.n_read:,} is {now}, those before are {was}")
            shape = frame.shape
            self.n_read += 1
            yield frame
        if self.n_read == 0:
            raise self.error("has no frames")

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

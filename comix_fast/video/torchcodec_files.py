"""Video files through torchcodec, for whom it is installed and asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from comix_fast.errors import VideoError
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.limits import Limits
from comix_fast.video.pyav_files import PyavStream
from comix_fast.video.resize import Frame

CHUNK = 16
"""Frames decoded at a time: enough to spread the cost of a call, few enough to hold."""

CHUNK_PIXELS = 2**26
"""Pixels decoded at a time, all frames together, where these are so large that CHUNK of them are more: 200 MB."""


class TorchcodecStream(FrameStream):
    """A video file decoded by torchcodec on one thread; as PyavStream otherwise.

    The container is walked by PyAV first, so that files which end early or lead elsewhere are told apart by the same
    rule, and its first frame is decoded there: torchcodec itself can't be told to take no memory for large pictures.
    One that grows beyond the limits later on is refused when torchcodec has decoded it.
    torchcodec is imported only when a stream is made; choose_decoder has seen to it that it can be.
    """

    def __init__(self, path: Path, segment: Segment | None = None, limits: Limits | None = None) -> None:
        super().__init__(path, limits)
        from torchcodec.decoders import VideoDecoder

        container = PyavStream(path, limits=limits)
        with container:
            packets = container.packets()
            frame = next(container.decoded(packets), None)
            for _ in packets:
                pass
        self.fps = container.fps
        n_pixels = max(1, frame.width * frame.height) if frame is not None else 1
        self._chunk = max(1, min(CHUNK, CHUNK_PIXELS // n_pixels))
        try:
            self._video = VideoDecoder(str(path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1)
        except (RuntimeError, ValueError) as error:
            raise self._refused(error) from error
        self._refuse(self.limits.too_many(len(self._video)))
        self._first, self._last = segment or (0, len(self._video) - 1)
        if self._last >= len(self._video):
            raise self.error(
                f"has {len(self._video):,} frames, too few for its segment {self._first:,} to {self._last:,}"
            )

    def _frames(self) -> Iterator[Frame]:
        for first in range(self._first, self._last + 1, self._chunk):
            try:
                chunk = self._video.get_frames_in_range(first, min(first + self._chunk, self._last + 1))
            except RuntimeError as error:
                raise self._refused(error) from error
            yield from self._measured(chunk.data.numpy())

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """In order from the first on: torchcodec can't pass over frames without converting them."""
        wanted = iter(numbers)
        next_one = next(wanted, None)
        for number, frame in enumerate(self._frames()):
            if next_one is None:
                return
            if number == next_one:
                yield number, frame
                next_one = next(wanted, None)
        if next_one is not None:
            raise self.too_short(self._last - self._first + 1, numbers[-1])

    def sought(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """In place of chosen, where all of the file's keyframes have been found to be openings: torchcodec seeks."""
        self._begin()
        for first in range(0, len(numbers), self._chunk):
            some = numbers[first : first + self._chunk]
            if self._first + some[-1] > self._last:
                raise self.too_short(self._last - self._first + 1, numbers[-1])
            try:
                chunk = self._video.get_frames_at([self._first + number for number in some])
            except RuntimeError as error:
                raise self._refused(error) from error
            for number, frame in zip(some, self._measured(chunk.data.numpy()), strict=True):
                self.n_read += 1
                yield number, frame

    def _measured(self, frames: Frame) -> Frame:
        """The same frames, [T, H, W, 3], held to the limits."""
        self._refuse(self.limits.too_large(frames.shape[2], frames.shape[1]))
        return frames

    def _count(self) -> int:
        return sum(1 for _ in self._frames())

    def _refused(self, error: Exception) -> VideoError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return self.error(f"can't be decoded by torchcodec ({reason})", hint="the decoder pyav may do better")

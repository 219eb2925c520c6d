"""The background of a video: its median over time, exact, in memory that a video's length does not move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from comix_fast.errors import ShapeError, VideoError
from comix_fast.video.resize import FRAME_SIZE, Frame, check_frame, resize_frame

Floats = npt.NDArray[np.float32]

HELD_FRAMES = 255
"""Frames whose median is taken at once: up to here it counts in single bytes, at its fastest."""

HELD_BYTES = 2**26
"""Memory for these frames. A video that needs more of either is read twice, see median_background."""

MAX_FRAME_BYTES = 2**21
"""Videos of larger frames (0.7 megapixels) are resized *before* the median instead of after it."""

RANK_STRIP = 4096
"""Values handled at a time, so that what they touch stays in the processor's cache (measured)."""

BIN = 16
"""Width of the bins of a long video's counts: 16 bins of 16 values, then the 16 values of one bin."""


def temporal_median(frames: Frame) -> Frame:
    """The median over time of each pixel and channel, truncated to uint8 (published code).

    frames: uint8 [T, H, W, 3]. Returns uint8 [H, W, 3], equal to np.median(frames, axis=0).astype(uint8).
    Raises ShapeError for other shapes and for no frames.
    """
    if frames.ndim != 4 or len(frames) == 0:
        raise ShapeError(f"frames are uint8 [T, H, W, 3] with T of 1 or more; got {list(frames.shape)}")
    check_frame(frames[0])
    flat = frames.reshape(len(frames), -1)
    return _held_median(flat).reshape(frames.shape[1:])


def median_background(read: Callable[[], Iterable[Frame]], size: int = FRAME_SIZE) -> tuple[Frame, int]:
    """The background of a video, uint8 [size, size, 3], and the number of its frames.

    read: gives uint8 [H, W, 3] each, all frames of one video, from the first one at every call. It is called once,
        for a video of more than HELD_FRAMES frames or HELD_BYTES twice: the first time finds, of each pixel and
        channel, which sixteen values the median is among, the second time which of these. That takes 31 bytes per
        pixel and channel beside the frames held, whatever the video's length.
    The median is taken at the video's own size and then resized as frames are, as the published code does; for
    very large frames the other way round, see MAX_FRAME_BYTES. Raises VideoError if there are no frames, or not
    the same number at the second reading.
    """
    held = _Held(size)
    counts: _Counts | None = None
    for chunk, is_last in held.chunks(read()):
        if counts is None and is_last:
            return resize_frame(_held_median(chunk).reshape(held.shape), size), len(chunk)
        counts = counts or _Counts(np.zeros(chunk.shape[1], np.uint8), BIN)
        counts.add(chunk)
    if counts is None:
        raise VideoError("no frames to take a median of")
    median = _counted_median(counts, (chunk for chunk, _ in held.chunks(read())))
    return resize_frame(median.reshape(held.shape), size), counts.n_frames


class _Held:
    """Frames of one video gathered in one piece of memory, as many at a time as it holds."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._given: tuple[int, ...] = ()
        self._held = np.empty((0, 0), np.uint8)
        self.shape: tuple[int, ...] = ()

    def chunks(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
        """Uint8 [n, H·W·3], valid until the next one is asked for, and whether it is the last."""
        n_held = 0
        for number, frame in enumerate(frames):
            flat = self._flat(frame, number)
            if n_held == len(self._held):
                yield self._held, False
                n_held = 0
            self._held[n_held] = flat
            n_held += 1
        if n_held:
            yield self._held[:n_held], True

    def _flat(self, frame: Frame, number: int) -> Frame:
        check_frame(frame)
        if self._given and frame.shape != self._given:
            raise ShapeError(f"frame {number} is {list(frame.shape)}, those before {list(self._given)}")
        self._given = frame.shape
        if frame.size > MAX_FRAME_BYTES:
            frame = resize_frame(frame, self._size)
        if not self.shape:
            self.shape = frame.shape
            # Memory that no frame has reached yet takes none: the system gives it page by page.
            self._held = np.empty((max(1, min(HELD_FRAMES, HELD_BYTES // frame.size)), frame.size), np.uint8)
        return frame.reshape(-1)


class _Counts:
    """How many frames lie below each of 15 thresholds, floor + step · 1 … 15, for every value of a frame."""

    def __init__(self, floor: Frame, step: int) -> None:
        self.n_frames = 0
        self.floor, self._step = floor, step
        self._below: npt.NDArray[np.unsignedinteger] = np.zeros((BIN - 1, len(floor)), np.uint16)

    def add(self, chunk: Frame) -> None:
        """Takes in [n, N], n up to HELD_FRAMES."""
        self.n_frames += len(chunk)
        if self.n_frames > np.iinfo(self._below.dtype).max:
            self._below = self._below.astype(np.uint32)
        for first in range(0, chunk.shape[1], RANK_STRIP):
            strip = np.ascontiguousarray(chunk[:, first : first + RANK_STRIP])
            floor, is_below = self.floor[first : first + RANK_STRIP], np.empty(strip.shape, bool)
            for row, below in enumerate(self._below, start=1):
                np.less(strip, floor + np.uint8(row * self._step), out=is_below)
                below[first : first + RANK_STRIP] += _count(is_below)

    def steps(self, rank: int) -> Frame:
        """How many steps above the floor each value of this rank lies: 0 to 15, were there no more above."""
        lying: Frame = (self._below <= rank).sum(axis=0, dtype=np.uint8)
        return lying


def _counted_median(coarse: _Counts, chunks: Iterable[Frame]) -> Frame:
    """The median of each value, from counts by bins of 16 and a second reading of the frames."""
    low_rank, high_rank = _middle_ranks(coarse.n_frames)
    low_bin = coarse.steps(low_rank)
    fine = _Counts(low_bin * np.uint8(BIN), 1)
    top = fine.floor + np.uint8(BIN - 1)
    next_bins = np.full(len(top), 255, np.uint8)
    for chunk in chunks:
        fine.add(chunk)
        for first in range(0, chunk.shape[1], RANK_STRIP):
            strip, lowest = chunk[:, first : first + RANK_STRIP], next_bins[first : first + RANK_STRIP]
            np.minimum(lowest, _least_of_rest(strip, strip <= top[first : first + RANK_STRIP]), out=lowest)
    if fine.n_frames != coarse.n_frames:
        raise VideoError(f"had {coarse.n_frames:,} frames at the first reading and {fine.n_frames:,} at the second")
    same_bin = coarse.steps(high_rank) == low_bin
    high = np.where(same_bin, fine.floor + fine.steps(high_rank), next_bins)
    return _midpoint(fine.floor + fine.steps(low_rank), high)


def mix_background(clip: npt.NDArray[np.generic], background: npt.NDArray[np.generic], gamma: float) -> Floats:
    """(1 − gamma) · clip + gamma · background, float32, in the scale that both are given in.

    clip: [..., H, W, 3], a clip or a batch of them. background: [H, W, 3], or any shape that broadcasts.
    gamma: in [0, 1); the method draws it below 0.5. Raises ShapeError where the shapes do not fit,
    ValueError for another gamma.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma is {gamma}; it must be in [0, 1)")
    if background.ndim > clip.ndim or clip.shape[-3:] != background.shape[-3:]:
        raise ShapeError(f"a background of {list(background.shape)} for clips of {list(clip.shape)}")
    weight = np.float32(gamma)
    return (np.float32(1) - weight) * clip.astype(np.float32) + weight * background.astype(np.float32)


def _middle_ranks(count: int) -> tuple[int, int]:
    """The two ranks, counted from 0, whose mean is the median; the same one twice if count is odd."""
    return (count - 1) // 2, count // 2


def _midpoint(low: Frame, high: Frame) -> Frame:
    return ((low.astype(np.uint16) + high) // 2).astype(np.uint8)


def _held_median(flat: Frame) -> Frame:
    """The median of each column of [T, N], T up to HELD_FRAMES or more: the lower middle value bit by bit.

    Comparing and counting: several times as fast as np.median and np.partition.
    """
    low_rank, high_rank = _middle_ranks(len(flat))
    median = np.zeros(flat.shape[1], np.uint8)
    for first in range(0, flat.shape[1], RANK_STRIP):
        strip = flat[:, first : first + RANK_STRIP]
        low = median[first : first + RANK_STRIP]
        is_below = np.empty(strip.shape, bool)
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):
            candidate = low | np.uint8(bit)
            np.less(strip, candidate, out=is_below)
            np.copyto(low, candidate, where=_count(is_below) <= low_rank)
        if high_rank > low_rank:
            np.less_equal(strip, low, out=is_below)
            up_to_low = _count(is_below)
            low[:] = _midpoint(low, np.where(up_to_low > high_rank, low, _least_of_rest(strip, is_below)))
    return median


def _count(marks: npt.NDArray[np.bool_]) -> npt.NDArray[np.unsignedinteger]:
    """True values in each column of [T, n], in the narrowest type that holds T: bytes add up at the fastest."""
    counted: npt.NDArray[np.unsignedinteger] = np.add.reduce(
        marks.view(np.uint8), axis=0, dtype=np.min_scalar_type(len(marks))
    )
    return counted


def _least_of_rest(strip: Frame, left_out: npt.NDArray[np.bool_]) -> Frame:
    """The least value in each column of [T, n] that is not left out; 255 where all are. Overwrites the marks."""
    raised = left_out.view(np.uint8)
    np.negative(raised, out=raised)
    np.maximum(raised, strip, out=raised)
    least: Frame = raised.min(axis=0)
    return least

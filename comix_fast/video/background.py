"""The background of a video: its median over time, exact, in memory that a video's length does not move."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from comix_fast.errors import ShapeError, VideoError
from comix_fast.video.resize import FRAME_SIZE, Frame, check_frame, resize_frame

Floats = npt.NDArray[np.float32]

HELD_FRAMES = 255
"""Frames kept as they are before they are folded into counts: short videos need none. Up to here the median
itself counts in single bytes, at its fastest."""

MAX_HISTOGRAM_BYTES = 2**30
"""Counts take 512 bytes a pixel and channel. Videos whose frames would need more than this (0.7 megapixels)
are resized *before* the median instead of after it."""

FOLD_STRIP = 64
RANK_STRIP = 4096
"""Values handled at a time, so that what they touch stays in the processor's cache (measured)."""


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


class MedianAccumulator:
    """The exact temporal median of frames that come one by one.

    The first HELD_FRAMES frames are held; each time as many have gathered they are folded into 256 counts
    per pixel and channel, so memory depends on the frame's size alone. Frames too large for such counts
    (MAX_HISTOGRAM_BYTES) are resized to size × size as they come, and `result` then has that shape.
    """

    def __init__(self, size: int = FRAME_SIZE) -> None:
        self.size = size
        self.count = 0
        self._shape: tuple[int, ...] = ()
        self._held = np.empty((0, 0), np.uint8)
        self._n_held = 0
        self._histogram: npt.NDArray[np.uint16] | npt.NDArray[np.uint32] | None = None

    def add(self, frame: Frame) -> None:
        """Take in the next frame, uint8 [H, W, 3], all of one shape; ShapeError otherwise."""
        check_frame(frame)
        if not self._shape:
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise ShapeError(f"frame {self.count} is {list(frame.shape)}, those before {list(self._shape)}")
        if frame.size * 256 * 2 > MAX_HISTOGRAM_BYTES:
            frame = resize_frame(frame, self.size)
        if self._n_held == HELD_FRAMES:
            self._fold()
        if self._n_held == len(self._held):
            self._grow(frame.size)
        self._held[self._n_held] = frame.reshape(-1)
        self._n_held += 1
        self.count += 1

    def result(self) -> Frame:
        """The median of the frames so far, uint8 [H, W, 3] (or [size, size, 3], see the class).

        More frames may follow. Raises VideoError if there were none.
        """
        if self.count == 0:
            raise VideoError("no frames to take a median of")
        if self._histogram is None:
            flat = _held_median(self._held[: self._n_held])
        else:
            self._fold()
            low, high = _middle_ranks(self.count)
            flat = _midpoint(_counted_rank(self._histogram, low), _counted_rank(self._histogram, high))
        height, width, channels = self._shape
        if flat.size != height * width * channels:
            height = width = self.size
        return flat.reshape(height, width, channels)

    def _grow(self, frame_size: int) -> None:
        room = min(HELD_FRAMES, max(16, 2 * len(self._held)))
        held = np.empty((room, frame_size), np.uint8)
        if self._n_held:
            held[: self._n_held] = self._held[: self._n_held]
        self._held = held

    def _fold(self) -> None:
        n_values = self._held.shape[1]
        if self._histogram is None:
            self._histogram = np.zeros((n_values, 256), np.uint16)
        if self.count > np.iinfo(np.uint16).max and self._histogram.dtype == np.uint16:
            self._histogram = self._histogram.astype(np.uint32)
        offsets = np.arange(FOLD_STRIP)[:, None] * 256
        for first in range(0, n_values, FOLD_STRIP):
            strip = np.ascontiguousarray(self._held[: self._n_held, first : first + FOLD_STRIP].T)
            cells = (strip + offsets[: len(strip)]).reshape(-1)
            counts = np.bincount(cells, minlength=len(strip) * 256).reshape(-1, 256)
            self._histogram[first : first + FOLD_STRIP] += counts.astype(self._histogram.dtype)
        self._n_held = 0


def median_background(frames: Iterable[Frame], size: int = FRAME_SIZE) -> tuple[Frame, int]:
    """The background of a video, uint8 [size, size, 3], and the number of its frames.

    frames: uint8 [H, W, 3] each, all frames of one video. The median is taken at the video's own size and
    then resized as frames are, as the published code does; for very large frames the other way round, see
    MAX_HISTOGRAM_BYTES. Raises VideoError if there are no frames.
    """
    median = MedianAccumulator(size)
    for frame in frames:
        median.add(frame)
    return resize_frame(median.result(), size), median.count


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
    """The median of each column of [T, N]: the lower middle value bit by bit, by comparing and counting.

    Several times as fast as np.median and np.partition. Counts are kept in the narrowest type that holds T.
    """
    low_rank, high_rank = _middle_ranks(len(flat))
    width = np.min_scalar_type(len(flat))
    median = np.zeros(flat.shape[1], np.uint8)
    for first in range(0, flat.shape[1], RANK_STRIP):
        strip = flat[:, first : first + RANK_STRIP]
        low = median[first : first + RANK_STRIP]
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):
            candidate = low | np.uint8(bit)
            below = (strip < candidate).sum(axis=0, dtype=width)
            np.copyto(low, candidate, where=below <= low_rank)
        if high_rank > low_rank:
            up_to_low = (strip <= low).sum(axis=0, dtype=width)
            next_above = strip.min(axis=0, where=strip > low, initial=255)
            low[:] = _midpoint(low, np.where(up_to_low > high_rank, low, next_above))
    return median


def _counted_rank(histogram: npt.NDArray[np.unsignedinteger], rank: int) -> Frame:
    """The value of this rank in each row of counts [N, 256]."""
    found = np.empty(len(histogram), np.uint8)
    for first in range(0, len(histogram), RANK_STRIP):
        upto = np.cumsum(histogram[first : first + RANK_STRIP], axis=1, dtype=np.uint32)
        found[first : first + RANK_STRIP] = (upto <= rank).sum(axis=1)
    return found

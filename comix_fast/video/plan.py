"""Which frames make which clip. Pure arithmetic: no frame is read here."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from comix_fast.errors import ComixError


class PlanError(ComixError, ValueError):
    """Numbers that no clip plan can be made of."""


@dataclass(frozen=True)
class ClipPlan:
    """The candidate clips of one video and their split into bins; made by `plan_clips`.

    n_frames: frames of the video as decoded.
    clip_length, stride, n_bins: frames a clip, frames from one candidate to the next, number of bins.
    repeat: how often each frame is shown, 1 unless the video is short.
    n_clips: number of candidate clips.

    First frames ("starts") count in the *repeated* video of n_frames · repeat frames.
    """

    n_frames: int
    clip_length: int
    stride: int
    n_bins: int
    repeat: int
    n_clips: int

    @property
    def starts(self) -> list[int]:
        """The first frame of every candidate, in temporal order."""
        return list(range(0, self.n_clips * self.stride, self.stride))

    @property
    def bins(self) -> list[list[int]]:
        """The starts in n_bins runs, the first ones longer by one if the split is uneven (np.array_split)."""
        short, longer = divmod(self.n_clips, self.n_bins)
        starts = self.starts
        edges = [b * short + min(b, longer) for b in range(self.n_bins + 1)]
        return [starts[low:high] for low, high in itertools.pairwise(edges)]

    @property
    def test_starts(self) -> list[int]:
        """The first candidate of each bin: the clips a video is tested on."""
        return [starts[0] for starts in self.bins]


@functools.cache
def plan_clips(n_frames: int, clip_length: int = 8, stride: int = 4, bins: int = 16, min_frames: int = 72) -> ClipPlan:
    """Plan the clips of a video of n_frames frames (CoMix, published code).

    A video of fewer than min_frames frames is slowed down: each frame is shown ceil(min_frames / n_frames)
    times. A candidate starts every `stride` frames; of T frames after repeating there are

        n = T // stride − ceil(clip_length / stride)

    candidates: the whole strides in the video less those that a clip covers. With 8 and 4 that is the
    published T//4 − 2, which leaves out the very last clip that would fit; every candidate lies inside
    the repeated video. The candidates are split into `bins` runs as np.array_split does.

    Repeating leaves at least min_frames frames and `plan_clips(1, …)` exactly as many, so that call tells
    whether clip_length, stride, bins and min_frames suit videos of any length.

    Raises PlanError for numbers below 1, and where there are fewer candidates than bins.
    """
    _check_positive(n_frames=n_frames, clip_length=clip_length, stride=stride, bins=bins, min_frames=min_frames)
    repeat = -(-min_frames // n_frames)
    covered = -(-clip_length // stride)
    n_clips = n_frames * repeat // stride - covered
    if n_clips < bins:
        raise PlanError(
            f"{n_frames * repeat} frames hold {max(n_clips, 0)} clips of {clip_length} frames "
            f"every {stride}, too few for {bins} bins",
            hint=f"use min_frames of at least {stride * (bins + covered)}, or fewer bins",
        )
    return ClipPlan(n_frames, clip_length, stride, bins, repeat, n_clips)


def clip_frames(plan: ClipPlan, start: int, speed: int = 1) -> tuple[int, ...]:
    """The source frames of the clip that starts at `start`: plan.clip_length numbers in [0, plan.n_frames).

    start: first frame in the repeated video, as in plan.starts; any frame of the repeated video will do.
    speed: frames are taken this far apart, in the repeated video too, so that speed 2 is twice as fast as
        speed 1 for short videos as for long ones. Past the end of the repeated video its last frame repeats.

    The numbers count from 0 in the video as decoded (before repeating) and never decrease.
    Raises PlanError if speed is below 1 or start is outside the repeated video.
    """
    _check_positive(speed=speed)
    last = plan.n_frames * plan.repeat - 1
    if not 0 <= start <= last:
        raise PlanError(f"start is {start}, outside the repeated video's frames 0 to {last}")
    return tuple(min(start + step * speed, last) // plan.repeat for step in range(plan.clip_length))


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise PlanError(f"{name} is {number}; it must be 1 or more")

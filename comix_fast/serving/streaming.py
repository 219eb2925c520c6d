"""From paths to features, through stage one's own pipeline: any number of videos, a few of them in memory.

Which clips a video has hangs on its length, so every video is decoded twice: once without converting its frames,
to count them, a few videos ahead, then for its clips. Counting 150 frames takes 20 ms of one core; I3D, half a second
for 16 clips where there are bf16 units, two where there are none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from comix_fast.cache.format import UNLABELLED, VideoRow
from comix_fast.config import PLAIN, ExtractRecipe
from comix_fast.datasets import Video
from comix_fast.errors import VideoError
from comix_fast.serving.answers import FailedVideo, VideoFeatures
from comix_fast.stages.pipeline import COMPUTE_PER_DECODE, Filled, Machine, Pipeline
from comix_fast.stages.pipeline_ahead import Ahead, Check
from comix_fast.stages.planning import VideoPlan
from comix_fast.stages.survey import failure
from comix_fast.video import ClipPlan, ClipRequest, clip_frames, count_frames, plan_clips

GROUP = 8
"""Videos whose clips fill batches together: only a group's last batch is filled up with clips that are not needed."""

StartsOf = Callable[[ClipPlan], Sequence[int]]
"""Which clips of a video are wanted, by their starts."""


def stream_features(
    paths: Sequence[Path], recipe: ExtractRecipe, machine: Machine, starts_of: StartsOf
) -> Generator[VideoFeatures | FailedVideo, None, None]:
    """The features of each path, a video file or a folder of frames, in the order of the paths.

    What a cache of this recipe made on this machine holds of these clips, to the bit. Threads work ahead, by some
    GROUPs of videos, and end with the generator. Raises ComixError if the device has too little memory.
    """
    if not paths:
        return
    reasons: dict[int, str] = {}
    n_threads = -(-machine.threads // COMPUTE_PER_DECODE) if machine.on_cpu else machine.threads

    def count(place: int, check: Check) -> Iterator[int]:
        check()
        yield _count(paths[place], machine)

    with Ahead(range(len(paths)), count, min(n_threads, len(paths)), 1, "comix-count") as counted:

        def plans() -> Iterator[VideoPlan]:
            for place, found in counted:
                # The place is the id: a path may be given twice.
                video = Video(str(place), paths[place], None)
                try:
                    (n_frames,) = found
                except VideoError as error:
                    reasons[place] = failure(video, error)["reason"]
                else:
                    yield _plan(video, n_frames, recipe, starts_of)

        with Pipeline(recipe, machine, None, plans()) as pipeline:
            # Videos that could not be counted are missing from the groups, so the last ones may be empty.
            n_groups = math.ceil(len(paths) / GROUP)
            groups = pipeline.shards(itertools.repeat(GROUP, n_groups), lambda clips: None)
            yield from _in_order(paths, groups, reasons)


def _in_order(
    paths: Sequence[Path], groups: Iterator[Filled], reasons: dict[int, str]
) -> Iterator[VideoFeatures | FailedVideo]:
    """Everything that is known of each path. reasons: of videos without a plan, there before any later video is."""
    place = 0
    for group in groups:
        for plan, features in group.videos:
            own = int(plan.video.id)
            for skipped in range(place, own):
                yield FailedVideo(paths[skipped], reasons.pop(skipped))
            place = own + 1
            if failed := group.failures.get(plan.video.id):
                yield FailedVideo(paths[own], failed["reason"])
            elif not np.isfinite(features[PLAIN]).all():
                yield FailedVideo(paths[own], "the backbone gave features that are not finite; check the weights")
            else:
                yield VideoFeatures(paths[own], plan.row.n_frames, features[PLAIN])
    for skipped in range(place, len(paths)):
        yield FailedVideo(paths[skipped], reasons.pop(skipped))


def _count(path: Path, machine: Machine) -> int:
    try:
        return count_frames(path, None, machine.decoder)
    # Names that no file can have are refused by the system or by Python, in their own words.
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: can't be opened ({getattr(error, 'strerror', None) or error})") from error


def _plan(video: Video, n_frames: int, recipe: ExtractRecipe, starts_of: StartsOf) -> VideoPlan:
    plan = plan_clips(n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)
    starts = tuple(starts_of(plan))
    requests = tuple(ClipRequest(PLAIN, row, clip_frames(plan, start)) for row, start in enumerate(starts))
    row = VideoRow(video.id, UNLABELLED, n_frames, fps=math.nan, sha256="", n_bytes=0)
    return VideoPlan(video, row, requests, {PLAIN: starts}, {})

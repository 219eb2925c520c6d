"""The first clips that stage one will see: what a backbone's precision is checked on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from torch import Tensor

from comix_fast.datasets import Video
from comix_fast.errors import VideoError
from comix_fast.video import Decoder, clip_frames, open_stream, plan_clips, resize_frame
from comix_fast.video.pixels import Clip, HostScaler
from comix_fast.video.resize import FRAME_SIZE

N_CLIPS = 2
LONG_ENOUGH = 72
"""Frames after which a video is not slowed down, so that its first clips are known without its length."""


def first_clips(videos: Iterable[Video], decoder: Decoder) -> Tensor | None:
    """The first two clips of the first video that can be read, float32 [2, 3, 8, 224, 224] in [-1, 1].

    Reads no more than 72 frames of it. None if no video can be read.
    """
    for video in videos:
        try:
            with open_stream(video.path, video.segment, decoder) as stream:
                frames = [resize_frame(frame, FRAME_SIZE) for frame in itertools.islice(stream, LONG_ENOUGH)]
        except VideoError:
            continue
        plan = plan_clips(len(frames), min_frames=LONG_ENOUGH)
        clips = [Clip([frames[one] for one in clip_frames(plan, start)]) for start in plan.starts[:N_CLIPS]]
        return HostScaler()(clips).clone()
    return None

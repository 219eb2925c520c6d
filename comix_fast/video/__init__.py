"""From video files to clips: which frames, decoding, resizing, backgrounds."""

from comix_fast.video.background import (
    median_background,
    mix_background,
    temporal_median,
)
from comix_fast.video.chosen import chosen_frames
from comix_fast.video.decode import count_frames, open_stream
from comix_fast.video.decoder import Decoder, DecoderError, choose_decoder
from comix_fast.video.frame_index import FrameIndex, index_frames
from comix_fast.video.frame_stream import FrameStream
from comix_fast.video.limits import UNLIMITED, Limits
from comix_fast.video.plan import ClipPlan, PlanError, clip_frames, plan_clips
from comix_fast.video.resize import resize_frame
from comix_fast.video.stream import ClipRequest, stream_clips, stream_windows

__all__ = [
    "UNLIMITED",
    "ClipPlan",
    "ClipRequest",
    "Decoder",
    "DecoderError",
    "FrameIndex",
    "FrameStream",
    "Limits",
    "PlanError",
    "choose_decoder",
    "chosen_frames",
    "clip_frames",
    "count_frames",
    "index_frames",
    "median_background",
    "mix_background",
    "open_stream",
    "plan_clips",
    "resize_frame",
    "stream_clips",
    "stream_windows",
    "temporal_median",
]

"""What background mixing shows the backbone: a clip as it is, the donor's background, and both together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from comix_fast.cache import FeatureCache
from comix_fast.cache.stated import stated_recipe
from comix_fast.errors import CacheError, VideoError
from comix_fast.pictures.footage import Footage
from comix_fast.pictures.stills import fitted, frames_of, squeezed, webp
from comix_fast.video import ClipPlan, clip_frames, mix_background, plan_clips, resize_frame
from comix_fast.video.resize import Frame

MIX_SIDE, MIX_QUALITY = 160, 70


@dataclass(frozen=True)
class Draw:
    """One draw of background mixing as a cache recorded it: the donor's id, its weight γ, one start per bin."""

    donor: str
    gamma: float
    starts: tuple[int, ...]


@dataclass(frozen=True)
class MixShown:
    """One clip of a draw. plain, mixed: the clip's frames as a WebP loop; background: the donor's, a WebP still.

    donor: its id; gamma: the background's weight; start: the clip's first frame, in the repeated video.
    width, height: of all three, in pixels.
    """

    plain: bytes
    background: bytes
    mixed: bytes
    donor: str
    gamma: float
    start: int
    width: int
    height: int


def cached_plan(cache: FeatureCache, video: str) -> ClipPlan:
    """The clips of a video by the cache's own recipe and the number of frames that it was extracted with.

    Raises CacheError for a video without features and for a recipe that this version can't follow.
    """
    recipe = stated_recipe(cache.recipe)
    n_frames = cache.row(video).n_frames
    return plan_clips(n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)


def cached_draw(cache: FeatureCache, video: str, view: str) -> Draw:
    """A draw of background mixing, read without its features. Raises CacheError if there is no such draw."""
    cache.require_view(video, view)
    path, row = cache.place(video)
    (mixing,) = cache.mixing(path, [view])
    if mixing is None:
        raise CacheError(f"the view {view!r} of {cache.path} is no draw of background mixing")
    (table,) = cache.tables(path, [view])
    starts = table.starts[int(table.offsets[row]) : int(table.offsets[row + 1])]
    return Draw(mixing[0][row], float(mixing[1][row]), tuple(starts.tolist()))


def mix(frame: Frame, background: Frame, gamma: float) -> Frame:
    """uint8 [H, W, 3]: (1 − γ) · frame + γ · background, rounded; the backbone is given it unrounded."""
    mixed: Frame = np.rint(mix_background(frame, background, gamma)).clip(0, 255).astype(np.uint8)
    return mixed


def mixed_frames(
    footage: Footage,
    cache: FeatureCache,
    video: str,
    view: str,
    *,
    clip: int | None = None,
    longest: int = MIX_SIDE,
    quality: int = MIX_QUALITY,
) -> MixShown:
    """One clip of a draw: plain, background and mixed, as the backbone saw them but in the video's own aspect.

    view: bgmix-0, bgmix-1, …; clip: which of the draw's clips, counted from 0, one per bin (None: the middle one);
    longest: of the pictures' sides, in pixels.
    The background is the survey's, or computed from the donor's video where the surveys are gone.
    Raises VideoError if the video or the donor's background can't be had, CacheError for a draw that the cache lacks,
    PlanError (also a ComixError) for a start that is outside the video.
    """
    draw, plan = cached_draw(cache, video, view), cached_plan(cache, video)
    number = len(draw.starts) // 2 if clip is None else clip
    if not 0 <= number < len(draw.starts):
        raise CacheError(f"{view} of {video} has clips 0 to {len(draw.starts) - 1}, not {number}")
    start = draw.starts[number]
    background, size = footage.background(draw.donor), stated_recipe(cache.recipe).size
    numbers = clip_frames(plan, start)
    seen: dict[int, Frame] = {}
    shape = (0, 0)
    for at, frame in frames_of(footage.find(video), sorted(set(numbers)), plan.n_frames):
        seen[at], shape = resize_frame(frame, size), (frame.shape[1], frame.shape[0])
    if not seen:
        raise VideoError("has no frames")
    width, height = fitted(*shape, longest)

    def shown(frame: Frame) -> Image.Image:
        return squeezed(frame, (width, height))

    return MixShown(
        plain=webp([shown(seen[at]) for at in numbers], quality),
        background=webp([shown(background)], quality),
        mixed=webp([shown(mix(seen[at], background, draw.gamma)) for at in numbers], quality),
        donor=draw.donor,
        gamma=draw.gamma,
        start=start,
        width=width,
        height=height,
    )

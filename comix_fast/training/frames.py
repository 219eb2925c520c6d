"""Banks whose rows are clips still to be decoded: drawn from by number, exactly as banks of cached features are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from comix_fast.datasets import Video
from comix_fast.errors import CacheError
from comix_fast.stages.candidates import Candidates, bins_of, labels_of
from comix_fast.stages.draws import MixDraw, draw_mix
from comix_fast.training.recipe import FRESH_DRAWS, VideoRecipe
from comix_fast.video import ClipPlan, clip_frames, plan_clips

DRAWS_HELD = 4096


@dataclass(frozen=True)
class DrawnClips:
    """The clips of one video that an iteration draws for one stream.

    frames: of each clip its frames, counted from 0 in the video. donor: whose background has weight gamma.
    """

    video: Video
    n_frames: int
    frames: tuple[tuple[int, ...], ...]
    donor: str | None = None
    gamma: float = 0.0


class FrameRows:
    """Rows whose features are computed as they are taken. describe: [B] row numbers of one video -> its clips."""

    def __init__(
        self, describe: Callable[[Tensor], DrawnClips], compute: Callable[[FrameRows, Tensor], Tensor]
    ) -> None:
        self.describe, self._compute = describe, compute

    def take(self, index: Tensor) -> Tensor:
        """[R, b, B] int64 row numbers -> features, as the upstream gives them."""
        return self._compute(self, index)


@dataclass(frozen=True)
class FrameBank(Candidates):
    """The videos of one list as FeatureBank has them, with frames instead of features.

    mix: (video, draw) -> one draw of background mixing; n_draws: how many there are to choose among.
    """

    clips: FrameRows
    mixed: FrameRows | None
    mix: Callable[[int, int], MixDraw]
    n_draws: int
    stride: int

    @property
    def n_mixes(self) -> int:
        """Draws of background mixing to choose among, 0 where there are none."""
        return self.n_draws if self.mixed is not None else 0

    def mixed_pair(self, videos: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """As FeatureBank.mixed_pair: the rows of a cache that held every draw."""
        pairs = list(zip(videos.flatten().tolist(), draw.flatten().tolist(), strict=True))
        starts = torch.tensor([self.mix(video, number).starts for video, number in pairs])
        plain = self.bin_first[videos, 0].unsqueeze(-1) + starts.view(*videos.shape, -1) // self.stride
        mixed = (draw * len(self.ids) + videos).unsqueeze(-1) * self.n_bins + torch.arange(self.n_bins)
        return plain, mixed


class FrameBanks(NamedTuple):
    """The training videos of both domains."""

    source: FrameBank
    target: FrameBank


class Others(NamedTuple):
    """Whose backgrounds may be mixed in: ids of the other domain's training videos, and which of them can be used."""

    ids: Sequence[str]
    usable: Callable[[str], bool]


def frame_bank(
    videos: Sequence[Video],
    n_frames: Callable[[str], int],
    recipe: VideoRecipe,
    others: Others | None,
    compute: Callable[[FrameRows, Tensor], Tensor],
) -> FrameBank:
    """A bank of some videos. others: None without mixing; compute: what gives rows their features.

    Raises CacheError if there are no videos.
    """
    if not videos:
        raise CacheError("no training video of a domain could be read", hint="see the warnings above")
    plans = [_plan(n_frames(video.id), recipe) for video in videos]
    count = np.array([plan.n_clips for plan in plans], np.int64)
    first = np.cumsum([0, *count[:-1]], dtype=np.int64)
    bin_first, bin_size = bins_of(first, count, recipe.bins)
    n_draws = recipe.mixes or FRESH_DRAWS

    @functools.lru_cache(DRAWS_HELD)
    def mix(video: int, draw: int) -> MixDraw:
        if others is None:
            raise CacheError("this run mixes no backgrounds")
        # Named as a cache's views are, so that a cache of these mixes holds the very same draws.
        name, view = videos[video].id, f"bgmix-{draw}"
        return draw_mix(plans[video], name, view, others.ids, others.usable, recipe.mix_seed, recipe.gamma_max)

    def clips(video: int, starts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return tuple(clip_frames(plans[video], start) for start in starts)

    def plain(rows: Tensor) -> DrawnClips:
        video = int(np.searchsorted(first, int(rows[0]), side="right")) - 1
        starts = [(row - int(first[video])) * recipe.stride for row in rows.tolist()]
        return DrawnClips(videos[video], plans[video].n_frames, clips(video, starts))

    def mixed(rows: Tensor) -> DrawnClips:
        draw, video = divmod(int(rows[0]) // recipe.bins, len(videos))
        found = mix(video, draw)
        return DrawnClips(videos[video], plans[video].n_frames, clips(video, found.starts), found.donor, found.gamma)

    return FrameBank(
        ids=tuple(video.id for video in videos),
        labels=labels_of(videos),
        bin_first=bin_first,
        bin_size=bin_size,
        clips=FrameRows(plain, compute),
        mixed=None if others is None else FrameRows(mixed, compute),
        mix=mix,
        n_draws=n_draws,
        stride=recipe.stride,
    )


def _plan(n_frames: int, recipe: VideoRecipe) -> ClipPlan:
    return plan_clips(n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)

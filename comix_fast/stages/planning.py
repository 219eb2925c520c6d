"""Which clips of which video stage one extracts, before a frame is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comix_fast.cache.format import VideoRow
from comix_fast.cache.surveys import Surveys
from comix_fast.config import ExtractRecipe
from comix_fast.datasets import Dataset, Video
from comix_fast.stages.draws import MixDraw, draw_mix
from comix_fast.video import ClipPlan, ClipRequest, clip_frames, plan_clips


@dataclass(frozen=True)
class VideoPlan:
    """All that is to be extracted of one video."""

    video: Video
    row: VideoRow
    requests: tuple[ClipRequest, ...]
    starts: dict[str, tuple[int, ...]]
    mixes: dict[str, MixDraw]


class Planner:
    """Plans videos one by one. Test videos get the views without mixing alone: nothing is trained on them."""

    def __init__(self, recipe: ExtractRecipe, dataset: Dataset, surveys: Surveys) -> None:
        self._recipe, self._surveys = recipe, surveys
        source, target = ([video.id for video in domain.train] for domain in (dataset.source, dataset.target))
        self._donors = dict.fromkeys(source, target) | dict.fromkeys(target, source)

    def _clips(self, video: Video) -> ClipPlan:
        recipe, n_frames = self._recipe, self._surveys.rows[video.id].n_frames
        return plan_clips(n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)

    def n_clips(self, video: Video) -> int:
        """How many clips there are to extract of a video."""
        views, n_mixes = self._recipe.views, self._recipe.views.mixes if video.id in self._donors else 0
        return self._clips(video).n_clips * len(views.unmixed) + self._recipe.bins * n_mixes

    def plan(self, video: Video) -> VideoPlan:
        """Every clip to extract of one video."""
        plan, views = self._clips(video), self._recipe.views
        starts = {view: tuple(plan.starts) for view in views.unmixed}
        speeds = dict(views.unmixed)
        mixes: dict[str, MixDraw] = {}
        for view in views.mixed if video.id in self._donors else ():
            donors, usable = self._donors[video.id], self._surveys.rows.__contains__
            mixes[view] = draw_mix(plan, video.id, view, donors, usable, views.seed, views.gamma_max)
            starts[view], speeds[view] = mixes[view].starts, 1
        requests = [request for view in starts for request in _requests(plan, view, starts[view], speeds[view])]
        return VideoPlan(video, self._surveys.rows[video.id], tuple(requests), starts, mixes)


def _requests(plan: ClipPlan, view: str, starts: Sequence[int], speed: int) -> Iterator[ClipRequest]:
    for row, start in enumerate(starts):
        yield ClipRequest(view, row, clip_frames(plan, start, speed))

"""Which clips of which video stage one extracts, before a frame is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from comix_fast.cache.format import VideoRow
from comix_fast.cache.surveys import Surveys
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.datasets import Dataset, Video
from comix_fast.stages.draws import MixDraw, draw_mix
from comix_fast.video import ClipPlan, ClipRequest, clip_frames, plan_clips

SHARD_CLIPS = 16_384
"""A shard's features wait in memory until it is written; these are 32 MB of I3D's."""


@dataclass(frozen=True)
class VideoPlan:
    """All that is to be extracted of one video."""

    video: Video
    row: VideoRow
    requests: tuple[ClipRequest, ...]
    starts: dict[str, tuple[int, ...]]
    mixes: dict[str, MixDraw]


def least_clips(dataset: Dataset, views: ViewPlan, bins: int = 16) -> int:
    """How many clips there are to extract if every video is short: known before any is decoded.

    It hangs on the dataset and the views alone, not on what is extracted already.
    """
    training = {video.id for domain in (dataset.source, dataset.target) for video in domain.train}
    return bins * (len(dataset.videos()) * len(views.unmixed) + len(training) * views.mixes)


@dataclass(frozen=True)
class Donors:
    """Ids of the training videos of each domain, in the order of their lists: donors to those of the other."""

    source: tuple[str, ...]
    target: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Donors:
        """Those of a dataset."""
        return cls(*(tuple(video.id for video in domain.train) for domain in (dataset.source, dataset.target)))

    def by_video(self) -> dict[str, tuple[str, ...]]:
        """For each training video, whose backgrounds may be mixed in."""
        return dict.fromkeys(self.source, self.target) | dict.fromkeys(self.target, self.source)


class Planner:
    """Plans videos one by one. Test videos get the views without mixing alone: nothing is trained on them."""

    def __init__(self, recipe: ExtractRecipe, donors: Donors, surveys: Surveys) -> None:
        self._recipe, self._surveys = recipe, surveys
        self._donors = donors.by_video()

    def _clips(self, video: Video) -> ClipPlan:
        recipe, n_frames = self._recipe, self._surveys.rows[video.id].n_frames
        return plan_clips(n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)

    def n_clips(self, video: Video) -> int:
        """How many clips there are to extract of a video."""
        views, n_mixes = self._recipe.views, self._recipe.views.mixes if video.id in self._donors else 0
        return self._clips(video).n_clips * len(views.unmixed) + self._recipe.bins * n_mixes

    def shards(self, videos: Sequence[Video], shard_size: int) -> Iterator[Sequence[Video]]:
        """Videos that share a shard: up to shard_size of them, and no more than hold SHARD_CLIPS clips together.

        A video of more clips than that has a shard of its own.
        """
        members: list[Video] = []
        n_clips = 0
        for video in videos:
            more = self.n_clips(video)
            if members and (len(members) == shard_size or n_clips + more > SHARD_CLIPS):
                yield members
                members, n_clips = [], 0
            members.append(video)
            n_clips += more
        if members:
            yield members

    def plan(self, video: Video) -> VideoPlan:
        """Every clip to extract of one video."""
        plan, views = self._clips(video), self._recipe.views
        starts = {view: tuple(plan.starts) for view in views.unmixed}
        speeds = dict(views.unmixed)
        mixes: dict[str, MixDraw] = {}
        for view in views.mixed if video.id in self._donors else ():
            mixes[view] = self.draw(video, view, self._surveys.rows.__contains__)
            starts[view], speeds[view] = mixes[view].starts, 1
        requests = [request for view in starts for request in _requests(plan, view, starts[view], speeds[view])]
        return VideoPlan(video, self._surveys.rows[video.id], tuple(requests), starts, mixes)

    def draw(self, video: Video, view: str, usable: Callable[[str], bool]) -> MixDraw:
        """One draw of background mixing of a training video; usable: whether a donor can be decoded."""
        views = self._recipe.views
        donors = self._donors[video.id]
        return draw_mix(self._clips(video), video.id, view, donors, usable, views.seed, views.gamma_max)

    def donors_to_look_at(
        self, videos: Iterable[Video], unreadable: Set[str], surveyed: Callable[[str], bool]
    ) -> set[str]:
        """Donors that the videos' draws fall on, if all are readable that are not surveyed or found unreadable.

        Of these, the unsurveyed ones: when they are surveyed, others may take the places of those that can't be read.
        """
        wanted: set[str] = set()

        def usable(donor: str) -> bool:
            if donor in unreadable:
                return False
            if not surveyed(donor):
                wanted.add(donor)
            return True

        for video in videos:
            for view in self._recipe.views.mixed if video.id in self._donors else ():
                self.draw(video, view, usable)
        return wanted


def _requests(plan: ClipPlan, view: str, starts: Sequence[int], speed: int) -> Iterator[ClipRequest]:
    for row, start in enumerate(starts):
        yield ClipRequest(view, row, clip_frames(plan, start, speed))

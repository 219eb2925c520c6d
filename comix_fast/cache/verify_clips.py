"""Which clips a shard's views are of: held against the clip plan, and mixes against their draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache.verify_videos import Scope, Table
from comix_fast.config import PLAIN, ExtractRecipe
from comix_fast.video import ClipPlan, plan_clips

MOST_PASSED_OVER = 3
"""Donors that a draw may have passed over, as unreadable then, though they are readable today."""


class Draw(Protocol):
    """One draw of background mixing: whose background, its weight and the starts."""

    @property
    def donor(self) -> str:
        """The id."""

    @property
    def gamma(self) -> float:
        """In [0, gamma_max]."""

    @property
    def starts(self) -> tuple[int, ...]:
        """One a bin."""


DrawMix = Callable[[ClipPlan, str, str, Sequence[str], Callable[[str], bool], int, float], Draw]
"""stages.draws.draw_mix, which is above this package: plan, video, view, donors, usable, seed, gamma_max."""


@dataclass
class Clips:
    """The clips of one view of a shard. starts [n], offsets [V + 1] int64; donors: a name a video, or none; gammas."""

    view: str
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    donors: Sequence[str] = ()
    gammas: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def of(self, number: int) -> NDArray[np.int64]:
        """The starts of one video."""
        return self.starts[int(self.offsets[number]) : int(self.offsets[number + 1])]


class ClipCheck:
    """Checks the clips of one file's videos, view after view; `finish` says what only shows when all have been seen."""

    def __init__(self, table: Table, recipe: ExtractRecipe, scope: Scope, draw: DrawMix | None) -> None:
        self._table, self._recipe, self._scope, self._draw = table, recipe, scope, draw
        self._planned: set[str] = set()
        self._draws: list[_Drawn] = []

    def check(self, clips: Clips) -> None:
        """One view; plain comes first."""
        view, recipe = clips.view, self._recipe
        mixed = view in recipe.views.mixed
        outside, others, plans = [], [], {}
        for number, row in enumerate(self._table.rows):
            starts = clips.of(number)
            if row.n_frames < 1 or (mixed and self._table.sparse and not len(starts)):
                continue
            plan = plan_clips(row.n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)
            plans[number] = plan
            if not _inside(starts, plan):
                outside.append(number)
            elif not (_one_a_bin if mixed else _every_candidate)(starts, plan):
                others.append(number)
            elif view == PLAIN:
                # From here on the plan is as long as arrays in the file, whatever n_frames said.
                self._planned.add(row.id)
        self._each(outside, len(plans), f"{view}: clips start outside their videos")
        what = "clips are not one candidate a bin" if mixed else "clips are not those of the clip plan"
        self._each(others, len(plans), f"{view}: {what}")
        if mixed:
            for number in (*outside, *others):
                del plans[number]
            self._check_mixes(clips, plans)

    def _each(self, wrong: Sequence[int], of: int, what: str) -> None:
        names = (self._table.rows[number].id for number in wrong)
        self._scope.ledger.require_each(names, of, self._table.name, what)

    def _check_mixes(self, clips: Clips, plans: Mapping[int, ClipPlan]) -> None:
        """plans: by number, of videos whose starts are one a bin."""
        view, views, table = clips.view, self._recipe.views, self._table
        whole = len(clips.donors) == len(clips.gammas) == len(table.rows)
        if not self._scope.ledger.require(whole, table.name, f"{view}: donors or γ are missing"):
            return
        present = [number for number in range(len(table.rows)) if len(clips.of(number))]
        for number in present:
            self._scope.donors.setdefault((table.name, table.domains[number]), set()).add(clips.donors[number])
        most = np.float32(views.gamma_max)
        beyond = [number for number in present if not 0 <= clips.gammas[number] <= most]
        self._each(beyond, len(present), f"{view}: γ is outside [0, {views.gamma_max:g}]")
        if self._draw is None:
            return
        starts, gammas = [], []
        planned = [number for number in plans if table.rows[number].id in self._planned]
        for number in planned:
            video, donor, plan = table.rows[number].id, clips.donors[number], plans[number]
            drawn = self._draw(plan, video, view, [donor], _anyone, views.seed, views.gamma_max)
            if tuple(clips.of(number).tolist()) != drawn.starts:
                starts.append(number)
            if number not in beyond and clips.gammas[number] != np.float32(drawn.gamma):
                gammas.append(number)
            self._draws.append(_Drawn(video, table.domains[number], view, donor, plan))
        self._each(starts, len(planned), f"{view}: starts are not those drawn")
        self._each(gammas, len(planned), f"{view}: γ is not the one drawn")

    def finish(self) -> None:
        """Donors against those that today's lists give; after all views.

        A file keeps the draws of the lists at its extraction. So where most of its donors are not what today's lists
        give, the lists have changed, and nothing can be said; where a few are not, these are wrong. One that comes
        soon after donors that no mix of the file is of is right: those were unreadable then.
        """
        if self._draw is None or self._scope.lists is None:
            return
        donors = {domain: set(train) for domain, train in self._scope.lists.train.items()}
        # Others than these are unknown, of the own domain, or not listed any more: found elsewhere.
        draws = [one for one in self._draws if one.donor in donors[_other(one.domain)]]
        used, others = {one.donor for one in draws}, []
        for one in draws:
            passed = self._passed_over(one)
            if passed is None or passed & used:
                others.append(f"{one.video}, {one.view}: {one.donor}")
        ledger, name = self._scope.ledger, self._table.name
        if 2 * len(others) > len(draws):
            ledger.note(name, "donors are those of other lists than today's, at extraction", others)
            others = []
        ledger.require_each(others, len(draws), name, "donors are not those drawn")

    def _passed_over(self, one: _Drawn) -> set[str] | None:
        """Readable donors that would have been drawn before the one it has; None if that would not come soon."""
        assert self._scope.lists is not None
        assert self._draw is not None
        donors = self._scope.lists.train[_other(one.domain)]
        passed: set[str] = set()

        def usable(donor: str) -> bool:
            if donor == one.donor:
                return True
            if donor in self._scope.surveyed or not self._scope.surveyed:
                passed.add(donor)
            return len(passed) > MOST_PASSED_OVER

        views = self._recipe.views
        drawn = self._draw(one.plan, one.video, one.view, donors, usable, views.seed, views.gamma_max)
        return passed if drawn.donor == one.donor else None


@dataclass(frozen=True)
class _Drawn:
    """A mix whose starts and γ are known; its donor is yet to be looked at."""

    video: str
    domain: str
    view: str
    donor: str
    plan: ClipPlan


def _other(domain: str) -> str:
    return "target" if domain == "source" else "source"


def _anyone(donor: str) -> bool:
    return True


def _inside(starts: NDArray[np.int64], plan: ClipPlan) -> bool:
    if not len(starts):
        return True
    return bool(starts.min() >= 0) and int(starts.max()) + plan.clip_length <= plan.n_frames * plan.repeat


def _every_candidate(starts: NDArray[np.int64], plan: ClipPlan) -> bool:
    return len(starts) == plan.n_clips and bool((starts == np.arange(plan.n_clips) * plan.stride).all())


def _one_a_bin(starts: NDArray[np.int64], plan: ClipPlan) -> bool:
    """As plan.bins has them, without listing the candidates: n_frames may be a lie."""
    if len(starts) != plan.n_bins or bool((starts % plan.stride).any()):
        return False
    short, longer = divmod(plan.n_clips, plan.n_bins)
    edges = [number * short + min(number, longer) for number in range(plan.n_bins + 1)]
    numbers = (starts // plan.stride).tolist()
    return all(low <= number < high for number, low, high in zip(numbers, edges, edges[1:], strict=False))

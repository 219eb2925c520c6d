"""How far a gain can be trusted: a paired bootstrap over videos and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comix_fast.comparison.cells import Comparison
from comix_fast.errors import ComixError
from comix_fast.intervals import LEVEL

N_DRAWS = 10_000
SEED = 0
# Picks held at a time: 8 MB of them, whatever the number of videos.
_PICKS = 1_000_000

Shares = npt.NDArray[np.float64]
Picks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """Some bootstrap draws; every method of a comparison is read by the same ones.

    videos: [n, V] places of the videos picked, with replacement.
    seeds: [n, S] places of the seeds picked, with replacement.
    spare: [n, S] in [0, 1), which seed of its own a method takes that lacks the one picked.
    """

    videos: Picks
    seeds: Picks
    spare: Shares


@dataclass(frozen=True)
class Gain:
    """What one method gains over another, in percentage points.

    points: difference of the two mean accuracies, each over the seeds its method has.
    low, high: 95 % percentile interval over bootstrap draws of videos and seeds.
    not_better: share of the draws, in [0, 1], in which the first method is not better: ties count, so two equal
        methods have 1. Small where the gain is sure; a one-sided p by the bootstrap, not an exact test.
    """

    points: float
    low: float
    high: float
    not_better: float

    def to_json(self) -> dict[str, float]:
        """The four fields by name, ready for json.dump."""
        return {"points": self.points, "low": self.low, "high": self.high, "not_better": self.not_better}


def draws(n_videos: int, n_seeds: int, n_draws: int = N_DRAWS, seed: int = SEED) -> Iterator[Draws]:
    """The draws, a few at a time so that memory does not grow with their number; the same ones on every call.

    Raises ComixError when none is asked for.
    """
    if n_draws < 1:
        raise ComixError(f"{n_draws} bootstrap draws", hint="ask for some thousands")
    # A stream each, so that the draws do not depend on how many are made at a time.
    by_video, by_seed, by_spare = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    step = max(1, _PICKS // max(1, n_videos))
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        yield Draws(
            videos=by_video.integers(n_videos, size=(n, n_videos)),
            seeds=by_seed.integers(max(1, n_seeds), size=(n, n_seeds)),
            spare=by_spare.random((n, n_seeds)),
        )


def seed_counts(drawn: Draws, own: Sequence[int]) -> Picks:
    """[n, len(own)] how often each draw takes each seed of one method: len(own) takes in all.

    own: places, among the seeds of the comparison, of those this method has.
    A method takes the seed picked where it has it, so methods that share a seed are paired; where it lacks it, it
    takes one of its own at random. Each of its seeds is then equally likely at every pick: 1/S + (S − n)/S · 1/n
    = 1/n, so that it sees an ordinary bootstrap of its n seeds, however many the others have.
    """
    n_own = len(own)
    place = np.full(drawn.seeds.shape[1], -1)
    place[list(own)] = np.arange(n_own)
    taken = place[drawn.seeds[:, :n_own]]
    taken = np.where(taken < 0, (drawn.spare[:, :n_own] * n_own).astype(np.int64), taken)
    return _counts(taken, n_own)


def bootstrap_accuracies(
    comparison: Comparison,
    columns: Sequence[tuple[str, str]],
    *,
    n_draws: int = N_DRAWS,
    seed: int = SEED,
) -> Shares:
    """Mean accuracies in bootstrap draws over videos and over seeds.

    columns: method and choice of each column; each must have cells, and the comparison labels.
    Returns [n_draws, columns] shares in [0, 1]. Equal counts of right answers give equal numbers, so ties are exact.
    Videos and seeds are drawn apart and crossed (the pigeonhole bootstrap, Owen 2007): for a mean over two crossed
    samples its variance is too large rather than too small, as what is particular to one seed on one video is drawn
    along both ways.
    """
    stacks = [comparison.correct(*column) for column in columns]
    owns = [_own_places(comparison, name) for name, _ in columns]
    n_videos = len(comparison.labels)
    # Counts up to 2^24 are exact in float32, and so is their product with 0 and 1, whatever the order of sums.
    right = np.concatenate(stacks).astype(np.float32).T
    ends = np.cumsum([len(stack) for stack in stacks])
    parts = []
    for drawn in draws(n_videos, len(comparison.seeds), n_draws, seed):
        hits = (_counts(drawn.videos, n_videos).astype(np.float32) @ right).astype(np.float64)
        part = np.empty((len(hits), len(columns)))
        for column, (own, end, stack) in enumerate(zip(owns, ends, stacks, strict=True)):
            mine = hits[:, end - len(stack) : end]
            summed = mine[:, 0] if own is None else (mine * seed_counts(drawn, own)).sum(axis=1)
            part[:, column] = summed / (len(stack) * n_videos)
        parts.append(part)
    return np.concatenate(parts)


def percentile_interval(values: Shares) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of [n] bootstrap values, in their unit."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def gain_of(comparison: Comparison, one: tuple[str, str], two: tuple[str, str], drawn: tuple[Shares, Shares]) -> Gain:
    """The gain of one method and choice over another.

    drawn: [n] accuracies of either in the same draws, as `bootstrap_accuracies` gives them.
    """
    differences = drawn[0] - drawn[1]
    low, high = percentile_interval(differences)
    # A count over a count, not a mean of means: methods with equally many right answers then differ by exactly 0.
    points = float(comparison.correct(*one).mean() - comparison.correct(*two).mean())
    return Gain(100 * points, 100 * low, 100 * high, float((differences <= 0).mean()))


def has_accuracy(comparison: Comparison, name: str, choice: str) -> bool:
    """Whether there is a label to measure with and a cell to measure."""
    return bool(comparison.labels) and bool(comparison.methods[name].chosen(choice))


def _own_places(comparison: Comparison, name: str) -> list[int] | None:
    """Places of a method's seeds among all, in the method's order; None where no seed changes it."""
    method = comparison.methods[name]
    return None if method.deterministic else [comparison.seeds.index(seed) for seed in method.seeds]


def _counts(picks: Picks, n: int) -> Picks:
    """[rows, n] how often each of 0 … n − 1 is picked in each row."""
    rows = len(picks)
    flat = picks + n * np.arange(rows)[:, None]
    return np.bincount(flat.ravel(), minlength=rows * n).reshape(rows, n)

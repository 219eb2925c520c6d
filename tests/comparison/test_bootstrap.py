"""The paired bootstrap: against plain loops, full enumeration, numbers worked by hand, and a simulation."""

from __future__ import annotations

import itertools
import math
import statistics
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from small_comparisons import LABELS, NEAREST, OURS, SOURCE_ONLY, cell, comparison, four, method, same

from comix_fast.comparison import Comparison, Gain, MethodResult, bootstrap, rows
from comix_fast.comparison.ranking import mean_ranks
from comix_fast.errors import ComixError


def random_methods(
    rng: np.random.Generator, seeds: dict[str, tuple[int, ...]], n_videos: int
) -> dict[str, MethodResult]:
    return {
        name: method(name, {seed: same((rng.random(n_videos) < 0.6).astype(int).tolist()) for seed in own})
        for name, own in seeds.items()
    }


def gain_over(here: Comparison, one: str, two: str) -> Gain:
    """What the table of a comparison that counts gains from `two` says of `one`."""
    gain = next(row.gain for row in rows(replace(here, baseline=two)) if row.name == one)
    assert gain is not None
    return gain


def test_agrees_with_a_double_loop_over_the_same_draws(rng: np.random.Generator) -> None:
    seeds, n_videos = (3, 7, 8), 12
    owned = {"source-only": seeds, "some": (8, 3), "one": (7,)}
    methods = random_methods(rng, owned, n_videos)
    methods["fixed"] = method("fixed", {0: {"last": [1, 0] * 6}}, deterministic=True)
    here = comparison(methods, labels=LABELS * 3, seeds=seeds)
    columns = [(name, "selected") for name in methods]
    found = bootstrap.bootstrap_accuracies(here, columns, n_draws=40)
    assert found.shape == (40, 4)
    (drawn,) = bootstrap.draws(n_videos, len(seeds), 40)
    for draw in range(40):
        for column, (name, result) in enumerate(methods.items()):
            own = list(result.seeds)
            taken = []
            for slot in range(len(own)):
                picked = seeds[drawn.seeds[draw, slot]]
                taken.append(picked if picked in own else own[int(drawn.spare[draw, slot] * len(own))])
            right = 0
            for seed in taken:
                predicted = result.chosen("selected")[own[0] if result.deterministic else seed].predicted
                for video in drawn.videos[draw]:
                    right += predicted[video] == here.labels[video]
            assert found[draw, column] == pytest.approx(right / (len(own) * n_videos), abs=1e-15), (draw, name)


def test_agrees_with_every_possible_draw() -> None:
    # 4 videos and 2 seeds: 4^4 × 2^2 = 1,024 equally likely draws, few enough to list.
    here = comparison({"source-only": SOURCE_ONLY, "ours": OURS})
    right = {name: here.correct(name, "selected") for name in here.methods}
    gains = []
    for videos in itertools.product(range(4), repeat=4):
        for seeds in itertools.product(range(2), repeat=2):
            mean = {name: np.mean([[rows_[s, v] for v in videos] for s in seeds]) for name, rows_ in right.items()}
            gains.append(100 * (mean["ours"] - mean["source-only"]))
    gain = gain_over(here, "ours", "source-only")
    assert gain.points == 25.0  # 7 of 8 right against 5 of 8
    assert gain.not_better == pytest.approx(np.mean(np.array(gains) <= 0), abs=0.015)
    assert (gain.low, gain.high) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])), abs=1e-9)
    ours = rows(here)[1]
    tied, worse = np.mean(np.array(gains) == 0), np.mean(np.array(gains) < 0)
    assert ours.rank == pytest.approx(1 + worse + tied / 2, abs=0.015)


def test_one_video_apart_by_hand() -> None:
    # Right wherever the other is, and on one video more: never worse, and no better only where that video is not
    # drawn, in (3/4)^4 = 0.316 of the draws. Unpaired, the two would often change places.
    more = method("more", {seed: same([1, 1, 0, 0]) for seed in (0, 1)})
    less = method("less", {seed: same([1, 0, 0, 0]) for seed in (0, 1)})
    gain = gain_over(comparison({"more": more, "less": less}), "more", "less")
    assert (gain.points, gain.low) == (25.0, 0.0)
    assert gain.not_better == pytest.approx(0.75**4, abs=0.02)
    back = gain_over(comparison({"more": more, "less": less}), "less", "more")
    assert (back.points, back.low, back.high, back.not_better) == (-25.0, -gain.high, 0.0, 1.0)


def test_seeds_are_paired() -> None:
    # Both are right on everything under seed 0 and on nothing under seed 1: apart they swing, together they never do.
    lucky = {0: same([1, 1, 1, 1]), 1: same([0, 0, 0, 0])}
    swapped = {0: same([0, 0, 0, 0]), 1: same([1, 1, 1, 1])}
    here = comparison({"a": method("a", lucky), "b": method("b", lucky), "c": method("c", swapped)})
    alike, unlike = gain_over(here, "a", "b"), gain_over(here, "a", "c")
    assert (alike.low, alike.high) == (0.0, 0.0)
    assert (unlike.points, unlike.low, unlike.high) == (0.0, -100.0, 100.0)


def test_identical_methods_gain_nothing() -> None:
    # Three seeds of thirds: sums of shares would differ in their last bit.
    seeds = {seed: same(marks) for seed, marks in enumerate(([1, 0, 0], [1, 1, 0], [1, 1, 1]))}
    backwards = dict(reversed(seeds.items()))
    here = comparison({"a": method("a", seeds), "b": method("b", backwards)}, labels=LABELS[:3], seeds=(0, 1, 2))
    gain = gain_over(here, "a", "b")
    assert (gain.points, gain.low, gain.high, gain.not_better) == (0.0, 0.0, 0.0, 1.0)
    assert [row.rank for row in rows(here)] == [1.5, 1.5]


def test_one_outcome_for_all_seeds_ties_with_equal_seeds() -> None:
    repeated = method("repeated", {seed: same([1, 1, 0, 0]) for seed in (0, 1)})
    gain = gain_over(comparison({"once": NEAREST, "repeated": repeated}), "once", "repeated")
    assert (gain.points, gain.low, gain.high, gain.not_better) == (0.0, 0.0, 0.0, 1.0)


def test_a_method_that_gave_up_seeds_is_drawn_from_its_own_evenly() -> None:
    drawn = bootstrap.Draws(
        videos=np.zeros((4, 1), dtype=np.int64),
        seeds=np.array([[0, 1, 2], [1, 1, 1], [2, 0, 1], [1, 0, 0]]),
        spare=np.array([[0.9, 0.2, 0.0], [0.1, 0.6, 0.0], [0.0, 0.0, 0.0], [0.99, 0.0, 0.0]]),
    )
    # Owns 0 and 2; of the first two picks, 1 is replaced by the first of its own below 0.5 and the second above.
    np.testing.assert_array_equal(bootstrap.seed_counts(drawn, [0, 2]), [[2, 0], [1, 1], [1, 1], [1, 1]])
    many = next(iter(bootstrap.draws(1, 5, 20_000)))
    counts = bootstrap.seed_counts(many, [4, 1, 3])
    assert (counts.sum(axis=1) == 3).all()
    np.testing.assert_allclose(counts.mean(axis=0), [1, 1, 1], atol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), [2 / 3] * 3, atol=0.02)


def test_the_same_every_time_and_whatever_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows(four(), n_draws=500)
    assert rows(four(), n_draws=500) == first
    assert rows(four(), n_draws=500, seed=1) != first
    monkeypatch.setattr(bootstrap, "_PICKS", 12)
    assert rows(four(), n_draws=500) == first


def test_memory_is_bounded_by_the_picks_held(rng: np.random.Generator) -> None:
    n_videos = 10_000
    methods = random_methods(rng, {"source-only": (0, 1), "ours": (0, 1)}, n_videos)
    here = comparison(methods, labels=LABELS * (n_videos // 4))
    tracemalloc.start()
    rows(here, n_draws=600)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the 600 draws' picks alone are 48 MB


def test_intervals_cover_what_they_say() -> None:
    # A video's ease and a seed's luck, crossed: a video is right where level + ease + luck + noise > 0, all normal,
    # so over all videos and seeds the accuracy is Φ(level / √(1 + 0.1² + 0.5²)).
    rng, levels, n_seeds, n_videos, trials = np.random.default_rng(5), (0.2, 0.6), 5, 60, 150
    truth = [statistics.NormalDist().cdf(level / math.sqrt(1 + 0.1**2 + 0.5**2)) for level in levels]
    covered = {"gain": 0, "videos and seeds": 0, "seeds alone": 0}
    points, widths = [], []
    for _ in range(trials):
        ease = rng.normal(size=n_videos)
        methods = {}
        for name, level in zip(("source-only", "ours"), levels, strict=True):
            luck, noise = 0.1 * rng.normal(size=(n_seeds, 1)), 0.5 * rng.normal(size=(n_seeds, n_videos))
            marks = (level + ease + luck + noise > 0).astype(int).tolist()
            methods[name] = method(name, {seed: {"last": one} for seed, one in enumerate(marks)})
        here = comparison(methods, labels=LABELS * (n_videos // 4), seeds=tuple(range(n_seeds)))
        ours = rows(here, n_draws=400)[1]
        accuracy = ours.accuracies["last"]
        assert ours.gain is not None and accuracy is not None and accuracy.over_seeds.half_width is not None
        points.append(ours.gain.points)
        widths.append(ours.gain.high - ours.gain.low)
        covered["gain"] += ours.gain.low <= 100 * (truth[1] - truth[0]) <= ours.gain.high
        covered["videos and seeds"] += accuracy.low <= truth[1] <= accuracy.high
        covered["seeds alone"] += abs(accuracy.over_seeds.mean - truth[1]) <= accuracy.over_seeds.half_width
    shares = {name: count / trials for name, count in covered.items()}
    assert shares["gain"] >= 0.92
    assert 0.92 <= shares["videos and seeds"] <= 0.99
    # Nor wide to be safe: ideal is 1.96 deviations either way.
    assert 1.8 <= statistics.mean(widths) / 2 / statistics.stdev(points) <= 2.8
    assert shares["seeds alone"] < 0.75  # the reason for the other interval


def test_mean_ranks_by_hand() -> None:
    # Draw by draw: 1 2 3; 2.5 1 2.5; 2 2 2.
    accuracies = np.array([[0.9, 0.8, 0.7], [0.5, 0.6, 0.5], [0.4, 0.4, 0.4]])
    np.testing.assert_allclose(mean_ranks(accuracies), [5.5 / 3, 5 / 3, 7.5 / 3])


def test_a_method_without_accuracies_gains_nothing() -> None:
    here = comparison({"ours": OURS, "gone": method("gone", {})}, baseline="ours")
    assert [(row.gain, row.rank) for row in rows(here)] == [(None, 1.0), (None, None)]
    assert rows(replace(here, baseline="gone"))[0].gain is None
    with pytest.raises(ComixError, match="0 bootstrap draws"):
        rows(here, n_draws=0)
    with pytest.raises(ComixError, match="no choice of a step is called 'best'"):
        rows(here, choice="best")


def test_one_seed_leaves_the_videos_error() -> None:
    here = Comparison(
        labels=LABELS,
        classes=("push", "kick"),
        methods={
            "a": MethodResult("a", {4: {"last": cell([1, 1, 1, 0])}}),
            "b": MethodResult("b", {4: {"last": cell([1, 0, 0, 0])}}),
        },
        baseline="b",
        seeds=(4,),
        source="x",
        target="y",
        transductive=False,
    )
    gain = gain_over(here, "a", "b")
    assert gain.points == 50.0
    assert gain.low == 0.0 and gain.high == 100.0
    assert gain.not_better == pytest.approx(0.5**4, abs=0.01)

"""Draws of stage two: right odds, right bins, and decided by their arguments alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from comix_fast.stages.sampling import BatchOrder, derived_seed, draw_slow_clips, generator_for


def test_an_epoch_shows_every_video_once() -> None:
    order = BatchOrder(24, 8, seed=0, name="source")
    epochs = order.batches(0, 9).reshape(3, 24)
    for epoch in epochs.tolist():
        assert sorted(epoch) == list(range(24))
    assert not torch.equal(epochs[0], epochs[1])


def test_incomplete_batches_are_dropped_and_small_lists_are_one_batch() -> None:
    batches = BatchOrder(11, 4, seed=0, name="x").batches(0, 6)
    assert batches.shape == (6, 4)
    for epoch in batches.reshape(3, 8).tolist():
        assert len(set(epoch)) == 8
    small = BatchOrder(3, 8, 0, "x").batches(5, 4)
    assert small.shape == (4, 3)
    for batch in small.tolist():
        assert sorted(batch) == [0, 1, 2]


def test_order_of_asking_does_not_matter() -> None:
    forward = BatchOrder(20, 5, 1, "t").batches(0, 12)
    one = BatchOrder(20, 5, 1, "t")
    for first, count in ((11, 1), (3, 6), (0, 2), (7, 5), (3, 6)):
        assert torch.equal(one.batches(first, count), forward[first : first + count])
    assert not torch.equal(BatchOrder(20, 5, 2, "t").batches(0, 12), forward)
    assert not torch.equal(BatchOrder(20, 5, 1, "s").batches(0, 12), forward)


@pytest.mark.parametrize("n_clips", [16, 10, 7, 5])
def test_slow_clips_are_one_of_each_bin_with_equal_odds(n_clips: int) -> None:
    drawn = draw_slow_clips(n_clips, 6000, generator_for("test", n_clips))
    assert drawn.shape == (6000, n_clips)
    assert drawn.dtype == torch.bool
    sizes = [round(n_clips * share) for share in (0.25, 0.5, 0.75)]
    assert n_clips != 16 or sizes == [4, 8, 12]
    counts = drawn.sum(dim=1)
    assert set(counts.tolist()) == set(sizes)
    for n_slow in sizes:
        mine = drawn[counts == n_slow]
        # Odds of a third, and within a bin of one over its size, to five standard errors.
        assert abs(len(mine) / 6000 - 1 / 3) < 5 * math.sqrt(2 / 9 / 6000)
        for clips in np.array_split(np.arange(n_clips), n_slow):
            chosen = mine[:, clips]
            assert chosen.sum(dim=1).tolist() == [1] * len(mine)
            odds = 1 / len(clips)
            bound = 5 * math.sqrt(odds * (1 - odds) / len(mine))
            assert (chosen.double().mean(dim=0) - odds).abs().max() <= bound


@pytest.mark.parametrize("n_clips", [1, 2, 3])
def test_few_clips_still_give_a_slow_view(n_clips: int) -> None:
    counts = draw_slow_clips(n_clips, 200, generator_for("few")).sum(dim=1)
    assert int(counts.min()) >= 1
    assert int(counts.max()) <= n_clips
    assert set(counts.tolist()) == {max(1, round(n_clips * share)) for share in (0.25, 0.5, 0.75)}


def test_slow_clips_are_decided_by_the_generator() -> None:
    drawn = draw_slow_clips(16, 64, generator_for("a"))
    assert torch.equal(drawn, draw_slow_clips(16, 64, generator_for("a")))
    assert not torch.equal(drawn, draw_slow_clips(16, 64, generator_for("b")))


def test_seeds_differ_by_every_part_and_never_overlap() -> None:
    seeds = {derived_seed(a, b) for a in (0, 1, 11) for b in ("x", "1x", "")}
    assert len(seeds) == 9
    assert derived_seed(1, "1") != derived_seed(11, "")
    assert all(0 <= seed < 2**63 for seed in seeds)

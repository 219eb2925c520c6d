"""Draws of stage two: right odds, right bins, and decided by their arguments alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from comix_fast.stages.sampling import BatchOrder, derived_seed, draw_slow_index, generator_for


def test_an_epoch_shows_every_video_once() -> None:
    order = BatchOrder(24, 8, seed=0, name="source")
    for epoch in range(3):
        batches = [order.batch(3 * epoch + place) for place in range(3)]
        assert sorted(torch.cat(batches).tolist()) == list(range(24))
    assert not torch.equal(order.batch(0), order.batch(3))


def test_incomplete_batches_are_dropped_and_small_lists_are_one_batch() -> None:
    order = BatchOrder(11, 4, seed=0, name="x")
    assert [len(order.batch(i)) for i in range(6)] == [4] * 6
    assert len(set(torch.cat([order.batch(0), order.batch(1)]).tolist())) == 8
    assert sorted(BatchOrder(3, 8, 0, "x").batch(5).tolist()) == [0, 1, 2]


def test_order_of_asking_does_not_matter() -> None:
    forward = [BatchOrder(20, 5, 1, "t").batch(i).tolist() for i in range(12)]
    one = BatchOrder(20, 5, 1, "t")
    assert [one.batch(i).tolist() for i in reversed(range(12))] == forward[::-1]
    assert BatchOrder(20, 5, 2, "t").batch(0).tolist() != forward[0]
    assert BatchOrder(20, 5, 1, "s").batch(0).tolist() != forward[0]


def test_slow_clips_are_one_of_each_bin_with_equal_odds() -> None:
    counts: Counter[int] = Counter()
    seen: dict[int, list[set[int]]] = {n: [set() for _ in range(n)] for n in (4, 8, 12)}
    for iteration in range(3000):
        index = draw_slow_index(16, generator_for("test", iteration)).tolist()
        counts[len(index)] += 1
        assert index == sorted(set(index))
        for place, clip in enumerate(index):
            seen[len(index)][place].add(clip)
    assert set(counts) == {4, 8, 12}
    assert min(counts.values()) > 900
    for n_slow, places in seen.items():
        expected = [set(part.tolist()) for part in torch.tensor_split(torch.arange(16), n_slow)]
        assert places == expected


@pytest.mark.parametrize("n_clips", [1, 2, 5])
def test_few_clips_still_give_a_slow_view(n_clips: int) -> None:
    for iteration in range(50):
        index = draw_slow_index(n_clips, generator_for(iteration))
        assert 1 <= len(index) <= n_clips
        assert int(index.max()) < n_clips


def test_seeds_differ_by_every_part_and_never_overlap() -> None:
    seeds = {derived_seed(a, b) for a in (0, 1, 11) for b in ("x", "1x", "")}
    assert len(seeds) == 9
    assert derived_seed(1, "1") != derived_seed(11, "")
    assert all(0 <= seed < 2**63 for seed in seeds)

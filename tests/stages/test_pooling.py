"""Statistics over time: by naive loops in float64, and banks of them beside the clips they come from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.cache.rows import LoadedRows, Rows
from comix_fast.errors import ComixError, ShapeError
from comix_fast.stages import pooling
from comix_fast.stages.bank import FeatureBank, load_banks
from comix_fast.stages.pooling import STATISTICS, parse_statistics, pooled_bank, pooled_bytes, temporal_statistics

DIM = 24


@pytest.fixture
def cache(make_cache: MakeCache) -> FeatureCache:
    return FeatureCache(make_cache(test=True))


@pytest.fixture
def bank(cache: FeatureCache) -> FeatureBank:
    return load_banks(cache, mixed=True, memory="load").source


def by_loops(clips: np.ndarray, names: Sequence[str] = STATISTICS) -> np.ndarray:
    """[n, D] -> [len(names)·D], one number at a time."""
    found: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for column in clips.astype(np.float64).T.tolist():
        mean = sum(column) / len(column)
        steps = [abs(after - before) for before, after in itertools.pairwise(column)]
        found["mean"].append(mean)
        found["max"].append(max(column))
        found["std"].append(math.sqrt(sum((x - mean) ** 2 for x in column) / len(column)))
        found["change"].append(sum(steps) / len(steps) if steps else 0.0)
        found["peak-change"].append(max(steps, default=0.0))
    return np.array([value for name in names for value in found[name]])


def values(rows: Rows | None) -> Tensor:
    assert rows is not None
    return rows.read(0, len(rows))


@pytest.mark.parametrize("names", [STATISTICS, *((name,) for name in STATISTICS), ("peak-change", "mean")])
def test_statistics_are_those_of_plain_loops_in_the_order_asked(
    rng: np.random.Generator, names: tuple[str, ...]
) -> None:
    clips = rng.normal(size=(2, 3, 7, 5))
    found = temporal_statistics(torch.from_numpy(clips), names)
    assert found.dtype == torch.float32
    assert found.shape == (2, 3, 5 * len(names))
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(found[place], by_loops(clips[place], names), rtol=1e-5, atol=1e-6)


def test_of_three_clips_on_paper() -> None:
    clips = torch.tensor([[1.0, 0.0], [4.0, 0.0], [-2.0, 3.0]], dtype=torch.float16)
    expected = [1, 1, 4, 3, math.sqrt(6), math.sqrt(2), 4.5, 1.5, 6, 3]
    torch.testing.assert_close(temporal_statistics(clips, STATISTICS), torch.tensor(expected))


def test_one_clip_does_not_vary() -> None:
    clip = torch.tensor([[3.0, -5.0]])
    assert temporal_statistics(clip, STATISTICS).tolist() == [3, -5, 3, -5, 0, 0, 0, 0, 0, 0]


def test_far_from_zero_deviations_keep_their_digits(rng: np.random.Generator) -> None:
    clips = (4096 + rng.normal(size=(30, 6))).astype(np.float32)
    found = temporal_statistics(torch.from_numpy(clips), ("std", "change"))
    np.testing.assert_allclose(found, by_loops(clips, ("std", "change")), rtol=1e-4)


def test_only_changes_know_the_order(rng: np.random.Generator) -> None:
    clips = torch.from_numpy(rng.normal(size=(12, 40)))
    one, other = (temporal_statistics(x, STATISTICS).view(5, 40) for x in (clips, clips[rng.permutation(12)]))
    torch.testing.assert_close(one[:3], other[:3])
    assert (one[3:] - other[3:]).abs().mean(dim=1).min() > 0.1


def test_names_are_read_as_typed() -> None:
    assert parse_statistics("mean") == ("mean",)
    assert parse_statistics("std + peak-change+mean") == ("std", "peak-change", "mean")
    assert parse_statistics("+".join(STATISTICS)) == STATISTICS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mean+median+maximum", "no statistic 'median', 'maximum'"),
        ("mean+max+mean", "mean can be given only once"),
        ("", "a statistic is empty in ''"),
        ("mean++max", "a statistic is empty in 'mean\\+\\+max'"),
    ],
)
def test_other_names_are_refused(text: str, says: str) -> None:
    with pytest.raises(ComixError, match=says):
        parse_statistics(text)
    with pytest.raises(ComixError, match=says):
        temporal_statistics(torch.zeros(3, 2), text.split("+"))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4), (4,)])
def test_no_clips_have_no_statistics(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="n at least 1"):
        temporal_statistics(torch.zeros(shape), ("mean",))


def assert_pools(cache: FeatureCache, pooled: FeatureBank, ids: Sequence[str]) -> None:
    """That every row, mixed ones too, is the statistics of the clips that the cache holds for its video."""
    rows = pooled.clips.take(pooled.candidate_rows(torch.arange(len(ids)), torch.full((len(ids), 1), 0.99)))
    draw = torch.arange(pooled.n_mixes)[:, None].expand(-1, len(ids))
    plain, mixed = pooled.mixed_pair(torch.arange(len(ids)).expand_as(draw), draw)
    assert pooled.mixed is not None
    taken = pooled.mixed.take(mixed)
    assert taken.shape == (pooled.n_mixes, len(ids), 1, pooled.clips.dim)
    assert torch.equal(pooled.clips.take(plain), rows.expand_as(taken))
    for number, name in enumerate(ids):
        np.testing.assert_allclose(rows[number, 0], by_loops(cache.features(name)), rtol=1e-5, atol=1e-6)
        for j in range(pooled.n_mixes):
            expected = by_loops(cache.features(name, f"bgmix-{j}"))
            np.testing.assert_allclose(taken[j, number, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_pooled_bank_has_one_row_a_video_and_its_mixes_beside_it(cache: FeatureCache, bank: FeatureBank) -> None:
    pooled = pooled_bank(bank, STATISTICS)
    assert pooled.ids == bank.ids
    assert torch.equal(pooled.labels, bank.labels)
    assert (pooled.n_bins, pooled.n_mixes, pooled.clips.dim) == (1, 2, 5 * DIM)
    assert values(pooled.clips).dtype == values(pooled.mixed).dtype == torch.float32
    assert torch.equal(pooled.bin_first, torch.arange(18)[:, None])
    assert torch.equal(pooled.bin_size, torch.ones(18, 1, dtype=torch.int64))
    assert_pools(cache, pooled, bank.ids)


def test_subsets_repeats_and_other_orders_are_pooled_video_by_video(cache: FeatureCache, bank: FeatureBank) -> None:
    some = torch.tensor([11, 2, 3, 2, 0, 17, 2])
    before, after = pooled_bank(bank.subset(some), STATISTICS), pooled_bank(bank, STATISTICS).subset(some)
    assert_pools(cache, before, [bank.ids[number] for number in some])
    assert_pools(cache, after, [bank.ids[number] for number in some])
    assert torch.equal(before.clips.take(before.bin_first), after.clips.take(after.bin_first))


def test_a_pooled_bank_without_mixes_has_none(cache: FeatureCache) -> None:
    pooled = pooled_bank(load_banks(cache, mixed=False).measured, ("mean",))
    assert (pooled.n_mixes, pooled.mixed, pooled.mixed_first) == (0, None, None)
    expected = [by_loops(cache.features(name), ("mean",)) for name in pooled.ids]
    np.testing.assert_allclose(values(pooled.clips), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("held_rows", [1, 7, 50, 1024])
def test_mapped_rows_are_pooled_to_the_same_bytes(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, held_rows: int
) -> None:
    monkeypatch.setattr(pooling, "HELD_ROWS", held_rows)
    for name in ("source", "target", "measured"):
        one, other = (getattr(load_banks(cache, mixed=True, memory=form), name) for form in ("load", "map"))
        one, other = pooled_bank(one, STATISTICS), pooled_bank(other, STATISTICS)
        assert torch.equal(values(one.clips), values(other.clips))
        if name != "measured":
            assert torch.equal(values(one.mixed), values(other.mixed))


class Counting(LoadedRows):
    """Notes how many rows are read at once."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__(rows)
        self.read_at_once: list[int] = []

    def read(self, first: int, last: int) -> Tensor:
        self.read_at_once.append(last - first)
        return super().read(first, last)


# Videos have 16 to 20 clips: in pieces of 1 … 19, some whole and some not, videos one by one, several at once.
@pytest.mark.parametrize("held_rows", [1, 2, 7, 16, 17, 19, 20, 50])
def test_long_videos_are_put_together_from_pieces(
    cache: FeatureCache, bank: FeatureBank, monkeypatch: pytest.MonkeyPatch, held_rows: int
) -> None:
    whole = pooled_bank(bank, STATISTICS)
    monkeypatch.setattr(pooling, "HELD_ROWS", held_rows)
    clips = Counting(values(bank.clips))
    pooled = pooled_bank(replace(bank, clips=clips), STATISTICS)
    assert_pools(cache, pooled, bank.ids)
    torch.testing.assert_close(values(pooled.clips), values(whole.clips), rtol=1e-5, atol=1e-6)
    assert max(clips.read_at_once) <= held_rows + 1
    for names in (*((name,) for name in STATISTICS), ("peak-change", "std")):
        alone = values(pooled_bank(bank, names).clips).view(len(bank.ids), len(names), DIM)
        places = [STATISTICS.index(name) for name in names]
        assert torch.equal(alone, values(pooled.clips).view(-1, 5, DIM)[:, places])


def test_rows_side_by_side_are_read_together(bank: FeatureBank) -> None:
    clips = Counting(values(bank.clips))
    pooled_bank(replace(bank, clips=clips), ("mean",))
    assert clips.read_at_once == [len(bank.clips)]


def test_a_pooled_bank_can_be_standardised(bank: FeatureBank) -> None:
    pooled = pooled_bank(bank, STATISTICS)
    norm, rows = pooled.standardise(), values(pooled.clips).double()
    torch.testing.assert_close(norm.mean.double(), rows.mean(dim=0), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(norm.std.double(), rows.std(dim=0, correction=0), atol=1e-6, rtol=1e-5)


def test_a_pooled_bank_moves_as_a_whole(bank: FeatureBank) -> None:
    moved = pooled_bank(bank, ("mean",)).to("meta")
    assert moved.clips.device.type == moved.bin_first.device.type == "meta"
    assert moved.mixed is not None
    assert moved.mixed.device.type == "meta"


@pytest.mark.parametrize("names", [STATISTICS, ("mean",)])
def test_bytes_foreseen_are_those_taken(cache: FeatureCache, bank: FeatureBank, names: tuple[str, ...]) -> None:
    for some in (bank, bank.subset(torch.tensor([4, 4, 1])), load_banks(cache, mixed=False).measured):
        pooled = pooled_bank(some, names)
        rows = [values(rows) for rows in (pooled.clips, pooled.mixed) if rows is not None]
        assert pooled_bytes(some, names) == sum(one.nbytes for one in rows)

"""What the iterations of a head draw: every chunk by itself, fairly, and without a look at target labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from members import Gym, last
from torch import Tensor

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.stages.bank import Banks, FeatureBank, load_banks
from comix_fast.stages.batches import CHUNK, AdaptationDraws, Drawn, Draws, SupervisedDraws
from comix_fast.stages.together import train_together

BATCH = 6


@pytest.fixture
def cache(make_cache: MakeCache) -> FeatureCache:
    return FeatureCache(make_cache())


@pytest.fixture
def banks(cache: FeatureCache) -> Banks:
    return load_banks(cache, mixed=True)


def kinds(banks: Banks) -> dict[str, Callable[..., Draws]]:
    return {
        "warmstart": lambda seed=0, phase="w": SupervisedDraws(banks.source, BATCH, seed, phase),
        "mixed": lambda seed=0: AdaptationDraws(banks, BATCH, seed, mixing=True),
        "plain": lambda seed=0: AdaptationDraws(banks, BATCH, seed, mixing=False),
    }


def same(one: Drawn, other: Drawn) -> bool:
    slow = one.slow is other.slow is None or (
        one.slow is not None and other.slow is not None and torch.equal(one.slow, other.slow)
    )
    rows = all(torch.equal(*pair) for pair in zip(one.rows, other.rows, strict=True))
    return rows and slow and torch.equal(one.labels, other.labels)


def videos_of(bank: FeatureBank, rows: Tensor) -> Tensor:
    """The video of each row of `clips`: its rows follow each other from its first bin's first."""
    order = bank.bin_first[:, 0].argsort()
    return order[torch.searchsorted(bank.bin_first[order, 0].contiguous(), rows.contiguous(), right=True) - 1]


@pytest.mark.parametrize("kind", ["warmstart", "mixed", "plain"])
def test_a_chunk_asked_for_alone_is_the_one_drawn_in_order(banks: Banks, kind: str) -> None:
    make = kinds(banks)[kind]
    draws = make()
    in_order = [draws.chunk(number) for number in range(5)]
    assert not same(in_order[0], in_order[1])
    for number in (4, 0, 3):
        assert same(make().chunk(number), in_order[number])
    backwards = make()
    for number in reversed(range(5)):
        assert same(backwards.chunk(number), in_order[number])
    assert not same(make(seed=1).chunk(0), in_order[0])


@pytest.mark.parametrize("kind", ["mixed", "plain"])
def test_no_two_chunks_draw_alike(banks: Banks, kind: str) -> None:
    draws = kinds(banks)[kind]()
    chunks = [draws.chunk(number) for number in range(6)]
    assert len({str(chunk.slow.tolist()) for chunk in chunks if chunk.slow is not None}) == 6
    # Within a video, which candidates or which mix: the epochs alone must not be all that differs.
    choices = [chunk.rows[-1] - chunk.rows[-1].amin(dim=-1, keepdim=True) for chunk in chunks]
    if kind == "plain":
        assert len({str(choice.tolist()) for choice in choices}) == 6


def test_phases_draw_apart(banks: Banks) -> None:
    make = kinds(banks)["warmstart"]
    assert not same(make(phase="supervised 0").chunk(0), make(phase="supervised 1").chunk(0))


@pytest.mark.parametrize("kind", ["warmstart", "mixed", "plain"])
def test_a_chunk_has_the_shapes_it_says(banks: Banks, kind: str) -> None:
    draws = kinds(banks)[kind]()
    chunk = draws.chunk(2)
    assert [tuple(rows.shape) for rows in chunk.rows] == [(CHUNK, BATCH, 16)] * len(draws.streams)
    assert chunk.labels.shape == (CHUNK, BATCH)
    assert (chunk.slow is None) == (kind == "warmstart")
    assert chunk.slow is None or chunk.slow.shape == (CHUNK, 16)
    plain, mixed = [banks.source.clips, banks.target.clips], [banks.source.mixed, banks.target.mixed]
    expected = {"warmstart": [(plain[0], 0)], "plain": [(plain[0], 0), (plain[1], 1)]}
    expected["mixed"] = [*expected["plain"], (mixed[0], 0), (mixed[1], 1)]
    for stream, (features, domain) in zip(draws.streams, expected[kind], strict=True):
        assert stream.features is features
        assert stream.domain == domain


@pytest.mark.parametrize("kind", ["warmstart", "mixed", "plain"])
def test_an_epoch_shows_every_video_once_with_its_label(banks: Banks, kind: str) -> None:
    draws = kinds(banks)[kind]()
    chunks = [draws.chunk(number) for number in range(3)]
    labels = torch.cat([chunk.labels for chunk in chunks])
    for stream, bank in enumerate((banks.source, banks.target)[: 1 if kind == "warmstart" else 2]):
        rows = torch.cat([chunk.rows[stream] for chunk in chunks])
        videos = videos_of(bank, rows)
        assert torch.equal(videos, videos[..., :1].expand_as(videos))
        videos = videos[..., 0]
        # 18 videos, six at a time: an epoch is three batches, and 64 is no multiple of three.
        for epoch in videos.reshape(-1, 18).tolist():
            assert sorted(epoch) == list(range(18))
        if stream == 0:
            assert torch.equal(labels, bank.labels[videos])


@pytest.mark.parametrize("kind", ["warmstart", "plain"])
def test_candidates_are_one_of_each_bin_with_equal_odds(banks: Banks, kind: str) -> None:
    draws = kinds(banks)[kind]()
    for stream, bank in enumerate((banks.source, banks.target)[: len(draws.streams)]):
        rows = torch.cat([draws.chunk(number).rows[stream] for number in range(6)]).flatten(0, 1)
        video = videos_of(bank, rows[:, 0])
        place = rows - bank.bin_first[video]
        sizes = bank.bin_size[video]
        assert int(place.min()) == 0
        assert bool((place < sizes).all())
        assert set(sizes.unique().tolist()) == {1, 2}
        taken = place[sizes == 2].double()
        assert len(taken) > 1000
        assert abs(float(taken.mean()) - 0.5) < 5 * 0.5 / math.sqrt(len(taken))


def test_mixed_rows_are_at_the_starts_of_the_plain_rows_beside_them(cache: FeatureCache, banks: Banks) -> None:
    chunk = kinds(banks)["mixed"]().chunk(1)
    used: Counter[str] = Counter()
    for stream, bank in enumerate((banks.source, banks.target)):
        plain, mixed = chunk.rows[stream].flatten(0, 1), chunk.rows[stream + 2].flatten(0, 1)
        assert bank.mixed is not None
        features = bank.clips.take(plain).numpy(), bank.mixed.take(mixed).numpy()
        for number, video in enumerate(videos_of(bank, plain[:, 0]).tolist()):
            name = bank.ids[video]
            draws = {view: cache.clips(name, view) for view in ("bgmix-0", "bgmix-1")}
            (view,) = [view for view, clips in draws.items() if np.array_equal(clips.features, features[1][number])]
            np.testing.assert_array_equal(cache.features(name)[draws[view].starts // 4], features[0][number])
            used[view] += 1
    total = sum(used.values())
    assert total == 2 * CHUNK * BATCH
    assert abs(used["bgmix-0"] / total - 0.5) < 5 * 0.5 / math.sqrt(total)


def test_few_videos_are_one_batch(banks: Banks) -> None:
    few = banks.source.subset(torch.tensor([4, 9]))
    chunk = SupervisedDraws(few, 8, 0, "w").chunk(0)
    assert chunk.rows[0].shape == (CHUNK, 2, 16)
    assert {tuple(sorted(batch)) for batch in chunk.labels.tolist()} == {tuple(sorted(few.labels.tolist()))}


class Untouchable:
    """Labels that nobody may look at."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"target labels were touched: {name}")

    def __getitem__(self, index: object) -> object:
        raise AssertionError("target labels were read")

    def __len__(self) -> int:
        raise AssertionError("target labels were counted")


@pytest.mark.parametrize("mixing", [True, False])
def test_target_labels_are_never_read(cache: FeatureCache, mixing: bool) -> None:
    gym, seeing = Gym(cache), Gym(cache)
    hidden = replace(gym.banks.target, labels=Untouchable())  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="target labels were read"):
        SupervisedDraws(hidden, BATCH, 0, "w").chunk(0)
    gym.banks = gym.banks._replace(target=hidden, measured=hidden)
    draws = AdaptationDraws(gym.banks, BATCH, 0, mixing), AdaptationDraws(seeing.banks, BATCH, 0, mixing)
    assert same(draws[0].chunk(3), draws[1].chunk(3))
    blind, open_eyed = (one.member(iterations=6, mixing=mixing) for one in (gym, seeing))
    assert train_together([blind]) == train_together([open_eyed]) == []
    for ours, theirs in zip(last(blind).weights.values(), last(open_eyed).weights.values(), strict=True):
        assert torch.equal(ours, theirs)

"""Features in memory: draws from the right bins, mixes beside their own starts, honest statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.errors import CacheError
from comix_fast.stages.bank import FeatureBank, feature_norms, load_bank, load_banks
from comix_fast.stages.sampling import generator_for
from comix_fast.video import plan_clips


@pytest.fixture
def cache(make_cache: MakeCache) -> FeatureCache:
    return FeatureCache(make_cache())


@pytest.fixture
def bank(cache: FeatureCache) -> FeatureBank:
    return load_bank(cache, cache.videos("source", "train"), mixed=True)


def test_every_draw_is_one_candidate_of_each_bin(cache: FeatureCache, bank: FeatureBank) -> None:
    videos = torch.tensor([4, 0, 9])
    seen: list[list[set[int]]] = [[set() for _ in range(16)] for _ in videos]
    for iteration in range(60):
        drawn = bank.draw(videos, generator_for(iteration))
        assert drawn.shape == (3, 16, 24)
        for place, number in enumerate(videos.tolist()):
            plain = cache.features(bank.ids[number])
            for position, clip in enumerate(drawn[place].numpy()):
                (row,) = np.flatnonzero((plain == clip).all(axis=1))
                seen[place][position].add(int(row) * 4)
    for place, number in enumerate(videos.tolist()):
        plan = plan_clips(cache.row(bank.ids[number]).n_frames)
        assert seen[place] == [set(starts) for starts in plan.bins]


def test_testing_takes_the_first_of_each_bin(cache: FeatureCache, bank: FeatureBank) -> None:
    for number, name in enumerate(bank.ids):
        plan = plan_clips(cache.row(name).n_frames)
        rows = [start // 4 for start in plan.test_starts]
        np.testing.assert_array_equal(bank.clips[bank.bin_first][number].numpy(), cache.features(name)[rows])


def test_a_mixed_draw_comes_with_plain_clips_at_the_same_starts(cache: FeatureCache, bank: FeatureBank) -> None:
    videos = torch.arange(len(bank.ids))
    seen = set()
    for iteration in range(8):
        plain, mixed = bank.draw_mixed(videos, generator_for(iteration))
        for number, name in enumerate(bank.ids):
            draws = {view: cache.clips(name, view) for view in ("bgmix-0", "bgmix-1")}
            (view,) = [v for v, clips in draws.items() if np.array_equal(clips.features, mixed[number].numpy())]
            seen.add(view)
            rows = draws[view].starts // 4
            np.testing.assert_array_equal(plain[number].numpy(), cache.features(name)[rows])
    assert seen == {"bgmix-0", "bgmix-1"}


def test_statistics_count_each_videos_own_clips(cache: FeatureCache, bank: FeatureBank) -> None:
    some = bank.subset(torch.tensor([2, 5]))
    rows = np.concatenate([cache.features(name) for name in some.ids]).astype(np.float64)
    norm = some.standardise()
    np.testing.assert_allclose(norm.mean, rows.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(norm.std, rows.std(axis=0), atol=1e-4)
    assert some.ids == (bank.ids[2], bank.ids[5])
    assert torch.equal(some.labels, bank.labels[[2, 5]])


def test_features_that_never_vary_are_not_blown_up(bank: FeatureBank) -> None:
    bank.clips[:, 3] = 0.25
    norm = bank.standardise()
    assert norm(bank.clips)[:, 3].abs().max() < 1e-3


def test_norms_use_the_statistics_they_say(cache: FeatureCache) -> None:
    banks = load_banks(cache, mixed=False)
    source, target = feature_norms(banks, "domain")
    torch.testing.assert_close(source(banks.source.clips).mean(dim=0), torch.zeros(24), atol=1e-4, rtol=0)
    raw_size = banks.source.clips.double().square().mean().sqrt()
    for norm, bank in ((source, banks.source), (target, banks.target)):
        spread = norm(bank.clips).std(dim=0, correction=0)
        torch.testing.assert_close(spread, torch.full((24,), float(raw_size)), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(target(banks.target.clips).mean(dim=0), torch.zeros(24), atol=1e-4, rtol=0)
    shared = feature_norms(banks, "source")
    assert torch.equal(shared[0].mean, shared[1].mean)
    assert not torch.equal(source.mean, target.mean)
    none = feature_norms(banks, "none")[1]
    torch.testing.assert_close(none(banks.target.clips), banks.target.clips.float())


def test_a_list_without_features_is_an_error(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="none of the listed videos has features"):
        load_bank(cache, [], mixed=False)

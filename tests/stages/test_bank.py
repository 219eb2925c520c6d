"""The features of a list: draws from the right bins, mixes beside their own starts, honest statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from builders import MakeCache, edited
from comix_fast.cache import FeatureCache
from comix_fast.cache.rows import LoadedRows, MappedRows, Rows
from comix_fast.cache.stored_json import read_marked, write_marked
from comix_fast.console import Advance, Silent
from comix_fast.errors import CacheError
from comix_fast.stages import bank as bank_module
from comix_fast.stages.bank import FeatureBank, feature_norms, load_banks, map_bank
from comix_fast.video import plan_clips


@pytest.fixture
def cache(make_cache: MakeCache) -> FeatureCache:
    return FeatureCache(make_cache())


@pytest.fixture
def bank(cache: FeatureCache) -> FeatureBank:
    return map_bank(cache, cache.videos("source", "train"), mixed=True).loaded(lambda rows: None)


def values(rows: Rows) -> Tensor:
    return rows.read(0, len(rows))


def drawn(bank: FeatureBank, videos: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return bank.clips.take(bank.candidate_rows(videos, torch.rand(*videos.shape, 16, generator=generator)))


def drawn_pairs(bank: FeatureBank, videos: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.randint(bank.n_mixes, videos.shape, generator=torch.Generator().manual_seed(seed))
    plain, mixed = bank.mixed_pair(videos, draw)
    assert bank.mixed is not None
    return bank.clips.take(plain), bank.mixed.take(mixed)


def test_every_draw_is_one_candidate_of_each_bin(cache: FeatureCache, bank: FeatureBank) -> None:
    videos = torch.tensor([4, 0, 9])
    seen: list[list[set[int]]] = [[set() for _ in range(16)] for _ in videos]
    for iteration in range(60):
        clips_drawn = drawn(bank, videos, iteration)
        assert clips_drawn.shape == (3, 16, 24)
        for place, number in enumerate(videos.tolist()):
            plain = cache.features(bank.ids[number])
            for position, clip in enumerate(clips_drawn[place].numpy()):
                (row,) = np.flatnonzero((plain == clip).all(axis=1))
                seen[place][position].add(int(row) * 4)
    for place, number in enumerate(videos.tolist()):
        plan = plan_clips(cache.row(bank.ids[number]).n_frames)
        assert seen[place] == [set(starts) for starts in plan.bins]


def test_testing_takes_the_first_of_each_bin(cache: FeatureCache, bank: FeatureBank) -> None:
    for number, name in enumerate(bank.ids):
        plan = plan_clips(cache.row(name).n_frames)
        rows = [start // 4 for start in plan.test_starts]
        np.testing.assert_array_equal(bank.clips.take(bank.bin_first)[number].numpy(), cache.features(name)[rows])


def test_a_mixed_draw_comes_with_plain_clips_at_the_same_starts(cache: FeatureCache, bank: FeatureBank) -> None:
    videos = torch.arange(len(bank.ids))
    seen = set()
    for iteration in range(8):
        plain, mixed = drawn_pairs(bank, videos, iteration)
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
    np.testing.assert_allclose(norm.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(norm.std, rows.std(axis=0), atol=1e-6)
    assert some.ids == (bank.ids[2], bank.ids[5])
    assert torch.equal(some.labels, bank.labels[[2, 5]])


def test_features_that_never_vary_are_not_blown_up(bank: FeatureBank) -> None:
    still = values(bank.clips).clone()
    still[:, 3] = 0.25
    norm = replace(bank, clips=LoadedRows(still)).standardise()
    assert norm(still)[:, 3].abs().max() < 1e-3


def test_norms_use_the_statistics_they_say(cache: FeatureCache) -> None:
    banks = load_banks(cache, mixed=False)
    source, target = feature_norms(banks, "domain")
    torch.testing.assert_close(source(values(banks.source.clips)).mean(dim=0), torch.zeros(24), atol=1e-4, rtol=0)
    raw_size = values(banks.source.clips).double().square().mean().sqrt()
    for norm, bank in ((source, banks.source), (target, banks.target)):
        spread = norm(values(bank.clips)).std(dim=0, correction=0)
        torch.testing.assert_close(spread, torch.full((24,), float(raw_size)), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(target(values(banks.target.clips)).mean(dim=0), torch.zeros(24), atol=1e-4, rtol=0)
    shared = feature_norms(banks, "source")
    assert torch.equal(shared[0].mean, shared[1].mean)
    assert not torch.equal(source.mean, target.mean)
    none = feature_norms(banks, "none")[1]
    torch.testing.assert_close(none(values(banks.target.clips)), values(banks.target.clips).float())


def test_a_list_without_features_is_an_error(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="none of the listed videos has features"):
        map_bank(cache, [], mixed=False)


def test_statistics_are_exact_far_from_zero_and_count_repeats(cache: FeatureCache, bank: FeatureBank) -> None:
    twice = bank.subset(torch.tensor([2, 2, 3, 9]))
    far = replace(twice, clips=LoadedRows((values(bank.clips).float() + 512).half()))
    first, count = far.bin_first[:, 0], far.bin_size.sum(dim=1)
    rows = torch.cat([far.clips.read(int(f), int(f + n)) for f, n in zip(first, count, strict=True)]).double()
    norm = far.standardise()
    torch.testing.assert_close(norm.mean.double(), rows.mean(dim=0), atol=0, rtol=1e-6)
    torch.testing.assert_close(norm.std.double(), rows.std(dim=0, correction=0), atol=0, rtol=1e-6)


def test_candidates_stay_in_their_bins_up_to_one(bank: FeatureBank) -> None:
    videos = torch.tensor([[4, 0, 9], [1, 1, 2]])
    first, size = bank.bin_first[videos], bank.bin_size[videos]
    for share, expected in ((0.0, first), (1.0, first + size - 1), (0.999999, first + size - 1)):
        rows = bank.candidate_rows(videos, torch.full((2, 3, 16), share))
        assert torch.equal(rows, expected)


def test_pairs_come_from_the_draw_that_is_asked_for(cache: FeatureCache, bank: FeatureBank) -> None:
    videos, draw = torch.tensor([[4, 0, 9], [1, 17, 1]]), torch.tensor([[0, 1, 1], [1, 0, 0]])
    plain, mixed = bank.mixed_pair(videos, draw)
    assert plain.shape == mixed.shape == (2, 3, 16)
    assert bank.n_mixes == 2
    assert bank.mixed is not None
    for place in np.ndindex(2, 3):
        video = bank.ids[int(videos[place])]
        clips = cache.clips(video, f"bgmix-{int(draw[place])}")
        np.testing.assert_array_equal(bank.mixed.take(mixed)[place].numpy(), clips.features)
        expected = cache.features(video)[clips.starts // 4]
        np.testing.assert_array_equal(bank.clips.take(plain)[place].numpy(), expected)


def test_without_mixes_a_pair_is_refused(cache: FeatureCache) -> None:
    plain = map_bank(cache, cache.videos("source", "train"), mixed=False).loaded(lambda rows: None)
    assert plain.n_mixes == 0
    with pytest.raises(CacheError, match="no background-mixed views"):
        plain.mixed_pair(torch.tensor([0]), torch.tensor([0]))


@pytest.mark.parametrize("mixed", [False, True])
def test_mapped_banks_draw_the_same_bytes(make_cache: MakeCache, mixed: bool) -> None:
    cache = FeatureCache(make_cache(test=True))
    banks = {form: load_banks(cache, mixed, memory=form) for form in ("load", "map")}  # type: ignore[arg-type]
    assert isinstance(banks["load"].source.clips, LoadedRows)
    assert isinstance(banks["map"].source.clips, MappedRows)
    for name in ("source", "target", "measured"):
        one, other = (getattr(both, name) for both in banks.values())
        for bank in (one, other):
            assert bank.ids == one.ids
            assert torch.equal(bank.bin_first, one.bin_first)
        videos = torch.tensor([[8, 3, 3], [0, 5, 1]])
        assert torch.equal(*(drawn(bank, videos, 3) for bank in (one, other)))
        norms = [bank.subset(torch.tensor([7, 2])).standardise() for bank in (one, other)]
        assert torch.equal(norms[0].mean, norms[1].mean)
        assert torch.equal(norms[0].std, norms[1].std)
        if mixed and name != "measured":
            pairs = [drawn_pairs(bank, torch.arange(9), 4) for bank in (one, other)]
            assert torch.equal(pairs[0][0], pairs[1][0])
            assert torch.equal(pairs[0][1], pairs[1][1])


def test_another_order_of_the_list_changes_nothing_of_a_video(make_cache: MakeCache) -> None:
    root = make_cache()
    before = load_banks(FeatureCache(root), mixed=True).source
    lists = read_marked(root / "dataset.json", "comix-dataset")
    lists["source"]["train"] = lists["source"]["train"][::-1][:11]
    write_marked(root / "dataset.json", "comix-dataset", lists)
    after = load_banks(FeatureCache(root), mixed=True).source
    assert after.ids == before.ids[::-1][:11]
    assert len(after.clips) == int(after.bin_size.sum()) < len(before.clips)
    assert before.mixed is not None
    assert after.mixed is not None
    for number, name in enumerate(after.ids):
        old = before.ids.index(name)
        assert torch.equal(after.clips.take(after.bin_first[number]), before.clips.take(before.bin_first[old]))
        for draw in range(2):
            rows = [b.mixed_pair(torch.tensor([n]), torch.tensor([draw])) for b, n in ((after, number), (before, old))]
            assert torch.equal(after.clips.take(rows[0][0]), before.clips.take(rows[1][0]))
            assert torch.equal(after.mixed.take(rows[0][1]), before.mixed.take(rows[1][1]))


def test_a_bank_moves_as_a_whole(bank: FeatureBank) -> None:
    moved = bank.to("meta")
    tensors = (moved.labels, moved.bin_first, moved.bin_size, moved.mixed_rows, moved.mixed_first)
    assert all(tensor is not None and tensor.device.type == "meta" for tensor in tensors)
    assert moved.clips.device.type == "meta"
    assert moved.mixed is not None
    assert moved.mixed.device.type == "meta"


class Listening(Silent):
    """Keeps what is said and shown."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[tuple[str, int, str]] = []
        self.done = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        def advance(done: int) -> None:
            self.done += done

        self.shown.append((what, total, unit))
        yield advance


@pytest.mark.parametrize("share", [1.9, 2.1])
def test_auto_loads_what_takes_at_most_half_of_memory(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    banks, reporter = load_banks(cache, mixed=True, memory="map"), Listening()
    rows = [rows for bank in banks[:2] for rows in (bank.clips, bank.mixed)]
    n_bytes = sum(2 * len(some) * some.dim for some in rows if some is not None)
    monkeypatch.setattr(bank_module, "available_memory", lambda: int(share * n_bytes))
    loaded = load_banks(cache, mixed=True, reporter=reporter).source.clips
    assert isinstance(loaded, LoadedRows if share > 2 else MappedRows)
    assert [line.endswith("read from their files as needed") for line in reporter.said] == [True] * (share < 2)


def test_a_system_that_tells_no_memory_loads(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "available_memory", lambda: None)
    assert isinstance(load_banks(cache, mixed=False).source.clips, LoadedRows)


def test_a_load_that_takes_long_is_shown(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Listening()
    load_banks(cache, mixed=True, memory="load", reporter=reporter)
    assert reporter.shown == []
    monkeypatch.setattr(bank_module, "SHOWN_BYTES", 1)
    banks = load_banks(cache, mixed=True, memory="load", reporter=reporter)
    n_clips = sum(len(bank.clips) + 2 * 16 * len(bank.ids) for bank in banks[:2])
    assert reporter.shown == [("loading features", n_clips, "clips")]
    assert reporter.done == n_clips


def damage(cache: FeatureCache, view: str, part: str, values: object) -> None:
    (path,) = {cache.place(video.id)[0] for video in cache.videos("source", "train")}
    with edited(path) as file:
        file[f"views/{view}/{part}"][...] = values


def test_mixes_that_have_no_plain_clips_are_refused(cache: FeatureCache) -> None:
    damage(cache, "bgmix-1", "starts", 4 * 1000)
    with pytest.raises(CacheError, match="mixed clips without a plain one"):
        map_bank(cache, cache.videos("source", "train"), mixed=True)


def test_videos_with_fewer_clips_than_bins_are_named(cache: FeatureCache) -> None:
    path: Path = cache.place(cache.videos("source", "train")[0].id)[0]
    with edited(path) as file:
        offsets = file["views/plain/offsets"]
        offsets[1] = 3
    first = cache.videos("source", "train")[0].id
    with pytest.raises(CacheError, match=f"1 videos of .* have fewer clips than bins: {first}"):
        map_bank(cache, cache.videos("source", "train"), mixed=False)

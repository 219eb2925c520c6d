"""What a recipe's head sees of a cache: clips or one row a video, each bank and norm made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Advance, Silent
from comix_fast.errors import CacheError, ComixError
from comix_fast.presets import RECOMMENDED
from comix_fast.stages import seen as seen_module
from comix_fast.stages.bank import Banks, load_banks
from comix_fast.stages.pooling import pooled_bank
from comix_fast.stages.seen import Seen

pytestmark = pytest.mark.usefixtures("one_thread")

GRAPH = AdaptRecipe()
LINEAR = AdaptRecipe(head="linear", statistics="mean+std")


class Counting(Silent):
    """Keeps the total and the end of every bar."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int, int]] = []

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        done = [0]

        def advance(some: int) -> None:
            done[0] += some

        yield advance
        self.bars.append((what, total, done[0]))


@pytest.fixture
def banks(make_cache: MakeCache) -> Banks:
    return load_banks(FeatureCache(make_cache()), mixed=True)


def test_graph_heads_see_the_clips(banks: Banks) -> None:
    seen = Seen(banks).banks(GRAPH)
    assert seen.source is banks.source
    assert seen.target is banks.target
    assert (seen.source.clips.dim, seen.source.n_bins) == (24, 16)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_other_heads_see_statistics_of_them(banks: Banks, head: str) -> None:
    recipe = replace(LINEAR, head=head)  # type: ignore[arg-type]
    found = Seen(banks).banks(recipe)
    for ours, clips in ((found.source, banks.source), (found.target, banks.target)):
        wanted = pooled_bank(clips, ("mean", "std"))
        assert (ours.clips.dim, ours.n_bins, len(ours.clips), ours.n_mixes) == (48, 1, 18, 2)
        assert torch.equal(ours.clips.read(0, 18), wanted.clips.read(0, 18))
        assert ours.mixed is not None
        assert wanted.mixed is not None
        assert torch.equal(ours.mixed.read(0, 36), wanted.mixed.read(0, 36))
        assert ours.ids == clips.ids
        assert ours.labels is clips.labels


def test_each_bank_is_made_once(banks: Banks) -> None:
    reporter = Counting()
    seen = Seen(banks, reporter=reporter)
    first = seen.banks(LINEAR)
    assert reporter.bars == [("statistics over time", 2, 2)]
    assert seen.banks(replace(LINEAR, lr=0.5, head="mlp")) is first
    assert seen.banks(GRAPH) is seen.banks(replace(GRAPH, statistics="max"))
    assert len(reporter.bars) == 1
    other = seen.banks(replace(LINEAR, statistics="mean"))
    assert other is not first
    assert other.source.clips.dim == 24
    assert len(reporter.bars) == 2


def test_each_norm_is_made_once(banks: Banks) -> None:
    seen = Seen(banks)
    norms = seen.norms(LINEAR)
    assert seen.norms(replace(LINEAR, lr=0.5, head="mlp")) is norms
    # Members of one stack share a norm only if it is one object.
    assert seen.norms(replace(LINEAR, seed=3))[0] is norms[0]
    for changes in ({"statistics": "mean"}, {"feature_norm": "source"}, {"head": "graph"}):
        assert seen.norms(replace(LINEAR, **changes)) is not norms  # type: ignore[arg-type]


def test_a_target_that_measures_stays_one_object(banks: Banks, make_cache: MakeCache) -> None:
    assert banks.measured is banks.target
    for device in (None, torch.device("cpu")):
        found = Seen(banks, device).banks(LINEAR)
        assert found.measured is found.target
    reporter = Counting()
    held = load_banks(FeatureCache(make_cache("held", test=True)), mixed=False)
    found = Seen(held, reporter=reporter).banks(LINEAR)
    assert found.measured is not found.target
    assert found.held_out is not None
    assert [bank.clips.dim for bank in (found.measured, found.held_out)] == [48, 48]
    assert (len(found.measured.ids), len(found.held_out.ids)) == (9, 9)
    assert reporter.bars == [("statistics over time", 4, 4)]


@pytest.mark.parametrize("statistics", ["mean", "mean+max+std+change+peak-change"])
@pytest.mark.parametrize("norm", ["domain", "source"])
def test_standardised_rows_of_the_source_have_one_mean_squared_length(banks: Banks, statistics: str, norm: str) -> None:
    recipe = replace(RECOMMENDED, statistics=statistics, feature_norm=norm)  # type: ignore[arg-type]
    seen = Seen(banks)
    found, norms = seen.banks(recipe), seen.norms(recipe)
    rows = norms[0](found.source.clips.read(0, 18))
    assert float(rows.square().sum(dim=1).mean()) == pytest.approx(512, rel=1e-4)
    assert rows.mean(dim=0).abs().max() < 1e-3
    lengths = norms[1](found.target.clips.read(0, 18)).square().sum(dim=1).mean()
    # The target is shifted: by the source's statistics it is longer.
    assert float(lengths) == pytest.approx(512, rel=1e-4) if norm == "domain" else float(lengths) > 600


def test_by_domain_each_is_standardised_by_its_own(banks: Banks) -> None:
    seen = Seen(banks)
    own, by_source = seen.norms(LINEAR), seen.norms(replace(LINEAR, feature_norm="source"))
    assert torch.equal(own[0].mean, by_source[0].mean)
    assert torch.equal(by_source[0].mean, by_source[1].mean)
    assert not torch.allclose(own[1].mean, own[0].mean, atol=0.1)
    target = own[1](seen.banks(LINEAR).target.clips.read(0, 18))
    assert target.mean(dim=0).abs().max() < 1e-3
    none = seen.norms(replace(LINEAR, feature_norm="none"))
    rows = seen.banks(LINEAR).source.clips.read(0, 18)
    assert torch.equal(none[0](rows), rows)


def test_graph_features_keep_the_size_of_the_raw_ones(banks: Banks) -> None:
    norm = Seen(banks).norms(GRAPH)[0]
    rows = banks.source.clips.read(0, len(banks.source.clips)).float()
    assert float(norm(rows).square().mean()) == pytest.approx(float(rows.square().mean()), rel=1e-3)


def test_unknown_statistics_are_refused_by_name(banks: Banks) -> None:
    seen = Seen(banks)
    with pytest.raises(ComixError, match="there is no statistic 'median'"):
        seen.banks(replace(LINEAR, statistics="median"))
    # A graph head has no statistics, so they are not asked after.
    assert seen.banks(replace(GRAPH, statistics="median")).source is banks.source


def test_statistics_that_find_no_room_are_refused_before_any_is_made(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    banks = load_banks(FeatureCache(make_cache(test=True)), mixed=True)
    # Mean and deviation of 24 features: source and target of 18 videos with two mixes each, measured and held out 9.
    needed = 4 * 2 * 24 * (2 * (18 + 2 * 18) + 9 + 9)
    monkeypatch.setattr(seen_module, "available_memory", lambda: needed - 1)
    reporter = Counting()
    with pytest.raises(CacheError, match=r"take 0\.00 GB of memory, and 0\.00 GB are free") as caught:
        Seen(banks, reporter=reporter).banks(LINEAR)
    for way_out in ("fewer --statistics", "--no-bgm", "--head graph --memory map"):
        assert way_out in caught.value.hint
    assert reporter.bars == []
    # Clips as they are take no more memory than they did.
    assert Seen(banks).banks(GRAPH).source is banks.source
    assert Seen(banks).banks(replace(LINEAR, statistics="mean")).source.clips.dim == 24
    for room in (needed, None):
        monkeypatch.setattr(seen_module, "available_memory", lambda room=room: room)
        assert Seen(banks).banks(LINEAR).source.clips.dim == 48


def test_both_sizes_are_named(banks: Banks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_module, "pooled_bytes", lambda bank, names: 6_170_000_000)
    monkeypatch.setattr(seen_module, "available_memory", lambda: 4_000_000_000)
    # A target that measures is counted once.
    with pytest.raises(CacheError, match=r"take 12\.34 GB of memory, and 4\.00 GB are free"):
        Seen(banks).banks(LINEAR)

"""What a head says of a bank's videos, and how often that is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from members import Gym
from torch import Tensor

from builders import MakeCache
from comix_fast import selection
from comix_fast.cache import FeatureCache
from comix_fast.cache.rows import LoadedRows
from comix_fast.config import AdaptRecipe
from comix_fast.heads import LinearHead
from comix_fast.heads.head import UNDECIDED, Dropped
from comix_fast.presets import RECOMMENDED
from comix_fast.selection import Evidence
from comix_fast.stages import measuring
from comix_fast.stages.bank import Banks, Standardise, load_banks
from comix_fast.stages.measuring import accuracy, measure, predict, predict_logits, pseudo_labelled
from comix_fast.stages.seen import Seen


def test_logits_are_of_the_test_clips_with_dropout_off(make_cache: MakeCache) -> None:
    gym = Gym(FeatureCache(make_cache()))
    bank, norm = gym.banks.target, gym.norms[1]
    head = gym.head(0, dropout=0.9).train()
    logits = predict_logits(head, bank, norm, batch=5)
    assert logits.shape == (18, 3)
    for video in range(18):
        clips = norm(bank.clips.take(bank.bin_first[video]))
        torch.testing.assert_close(logits[video], head.eval()(clips[None])[0].detach(), atol=1e-6, rtol=0)
    assert torch.equal(logits, predict_logits(head, bank, norm, batch=5))
    torch.testing.assert_close(logits, predict_logits(head, bank, norm), atol=1e-6, rtol=0)
    assert all(parameter.grad is None for parameter in head.parameters())


def test_accuracy_counts_labelled_videos_alone() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 0.0], [0.0, 9.0]])
    assert accuracy(logits, torch.tensor([0, 0, -1, 1])) == pytest.approx(2 / 3)
    assert accuracy(logits, torch.full((4,), -1)) is None


def wide_linear_head(width: int, seed: int) -> LinearHead:
    torch.manual_seed(seed)
    head = LinearHead(width, 3)
    with torch.no_grad():
        head.weight.copy_(0.05 * torch.randn(width, 3))
        head.bias.copy_(torch.randn(3))
    return head


def seen_by(recipe: AdaptRecipe, cache: Path) -> tuple[Banks, tuple[Standardise, Standardise]]:
    seen = Seen(load_banks(FeatureCache(cache), mixed=False))
    return seen.banks(recipe), seen.norms(recipe)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Evidence]:
    """Every evidence that scores are taken of."""
    given: list[Evidence] = []

    def scores(evidence: Evidence) -> dict[str, float | None]:
        given.append(evidence)
        return selection.scores(evidence)

    monkeypatch.setattr(measuring, "scores", scores)
    return given


def test_wide_features_are_scored_on_one_projection(make_cache: MakeCache, shown: list[Evidence]) -> None:
    cache = make_cache(dim=130, test=True)
    banks, norms = seen_by(RECOMMENDED, cache)
    head = wide_linear_head(650, 0).eval()
    before = torch.get_rng_state()
    line = measure(head, banks, norms).line
    assert torch.equal(torch.get_rng_state(), before)
    (evidence,) = shown
    assert evidence.source is not None
    assert evidence.held_out is not None
    assert evidence.classifier is not None
    # All that is compared with features goes through the same projection, so that angles and products stay.
    narrowed = [evidence.features, evidence.source.features, evidence.held_out.features, evidence.classifier]
    assert [tuple(one.shape) for one in narrowed] == [(18, 256), (18, 256), (9, 256), (3, 256)]
    wide = [predict(head, bank, norm)[1] for bank, norm in zip((banks.target, banks.source), norms[::-1], strict=True)]
    for ours, theirs in zip(narrowed[:2], wide, strict=True):
        close = torch.cdist(ours, ours) / torch.cdist(theirs, theirs).clamp_min(1e-6)
        apart = ~torch.eye(18, dtype=torch.bool)
        assert 0.75 < float(close[apart].min()) < float(close[apart].max()) < 1.25
    across = torch.cdist(narrowed[0], narrowed[1]) / torch.cdist(wide[0], wide[1])
    assert 0.75 < float(across.min()) < float(across.max()) < 1.25
    # Logits are the head's own, not of what the projection left.
    torch.testing.assert_close(evidence.logits, predict_logits(head, banks.target, norms[1]))
    assert measure(head, banks, norms).line == line
    assert None not in line["scores"].values()


def test_narrow_features_are_scored_as_they_are(make_cache: MakeCache, shown: list[Evidence]) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(test=True))
    head = wide_linear_head(120, 0).eval()
    measure(head, banks, norms)
    (evidence,) = shown
    assert evidence.classifier is not None
    assert torch.equal(evidence.classifier, head.last_weights.detach())
    assert torch.equal(evidence.features, predict(head, banks.target, norms[1])[1])


@pytest.mark.parametrize("test", [False, True])
def test_a_test_list_of_the_source_is_what_dev_needs(make_cache: MakeCache, shown: list[Evidence], test: bool) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(test=test))
    line = measure(wide_linear_head(120, 0).eval(), banks, norms).line
    found = line["scores"]
    assert set(found) == set(selection.SCORES)
    assert {name for name, value in found.items() if value is None} == (set() if test else {"dev"})
    assert line["infomax"] == found["infomax"]
    assert (shown[0].held_out is None) == (shown[0].source is None) == (not test)
    if test:
        assert banks.held_out is not None
        assert not set(banks.held_out.ids) & set(banks.source.ids)


def test_scores_know_no_target_label(make_cache: MakeCache) -> None:
    lines = []
    for name, labels in (("true", None), ("other", [2, 1, 0] * 6), ("none", [None] * 18)):
        banks, norms = seen_by(RECOMMENDED, make_cache(name, target_labels=labels, test=False))
        lines.append(measure(wide_linear_head(120, 0).eval(), banks, norms).line)
    assert lines[0]["scores"] == lines[1]["scores"] == lines[2]["scores"]
    assert lines[0]["target_accuracy"] != lines[1]["target_accuracy"]
    assert lines[2]["target_accuracy"] is None


def test_mixed_videos_are_mixed_after_standardising(make_cache: MakeCache, shown: list[Evidence]) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache())
    head = wide_linear_head(120, 0).eval()
    measure(head, banks, norms)
    mixed = shown[0].mixed
    assert mixed is not None
    first, second = torch.tensor([0, 4]), torch.tensor([7, 1])
    rows = norms[1](banks.target.clips.read(0, 18))
    wanted = head((0.7 * rows[first] + 0.3 * rows[second])[:, None]).detach()
    torch.testing.assert_close(mixed(first, second, 0.7), wanted, atol=1e-5, rtol=0)


def test_what_is_predicted_is_of_the_measured_videos(make_cache: MakeCache) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(test=True))
    head = wide_linear_head(120, 0).eval()
    found = measure(head, banks, norms)
    assert found.predicted.shape == (9,)
    assert torch.equal(found.predicted, predict_logits(head, banks.measured, norms[1]).argmax(dim=1))
    right = float((found.predicted == banks.measured.labels).double().mean())
    assert found.line["target_accuracy"] == pytest.approx(right)


class Watched(LinearHead):
    """Notes how many videos it sees at once."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 3)
        self.seen: list[int] = []

    def features(self, x: Tensor, dropped: Dropped = UNDECIDED) -> Tensor:
        self.seen.append(len(x))
        return super().features(x, dropped)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of everything that measuring puts together."""
    shapes: list[tuple[int, ...]] = []
    cat = torch.cat

    def noted(tensors: Any, *args: Any, **kwargs: Any) -> Tensor:
        whole = cat(tensors, *args, **kwargs)
        shapes.append(tuple(whole.shape))
        return whole

    monkeypatch.setattr(torch, "cat", noted)
    return shapes


def test_wide_features_are_never_put_together(
    make_cache: MakeCache, joined: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(dim=130, test=True))
    head = Watched(650).eval()
    monkeypatch.setattr(measuring, "scores", lambda evidence: {"infomax": 0.0})
    joined.clear()
    measure(head, banks, norms)
    # Target and source, 18 videos each; 9 measured, of which logits alone are kept; 9 held out.
    assert sorted(joined) == sorted([*[(18, 3), (18, 256)] * 2, (9, 3), (9, 3), (9, 256)])
    joined.clear()
    predict_logits(head, banks.target, norms[1], batch=5)
    assert joined == [(18, 3)]
    assert head.seen[-4:] == [5, 5, 5, 3]


def test_batches_change_nothing_but_rounding(make_cache: MakeCache) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(dim=130))
    head = wide_linear_head(650, 0).eval()
    wide = predict(head, banks.target, norms[1])[1]
    assert wide.shape == (18, 650)
    for batch in (1, 5, 18):
        logits, kept = predict(head, banks.target, norms[1], lambda values: 2 * values[:, :7], batch)
        assert torch.equal(kept, 2 * wide[:, :7])
        torch.testing.assert_close(logits, head.classify(wide.clone()).detach(), atol=1e-5, rtol=1e-5)


def test_the_projection_is_drawn_once(make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(dim=130, test=True))
    head = wide_linear_head(650, 0).eval()
    first = measure(head, banks, norms).line

    def no_draw(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("drawn again")

    monkeypatch.setattr(torch, "randn", no_draw)
    assert measure(head, banks, norms).line == first


class Untouchable(LoadedRows):
    """Rows that nobody may take."""

    def take(self, index: Tensor) -> Tensor:
        raise AssertionError("taken")


def test_without_held_out_videos_the_source_is_not_asked(make_cache: MakeCache) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(test=True))
    clips = Untouchable(banks.source.clips.read(0, 18))
    banks = banks._replace(source=replace(banks.source, clips=clips))
    head = wide_linear_head(120, 0).eval()
    with pytest.raises(AssertionError, match="taken"):
        measure(head, banks, norms)
    found = measure(head, banks._replace(held_out=None), norms).line["scores"]
    assert [name for name, value in found.items() if value is None] == ["dev"]


def test_mixed_videos_go_through_the_head_in_batches(
    make_cache: MakeCache, shown: list[Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache())
    head = Watched(120).eval()
    with torch.no_grad():
        head.weight.copy_(wide_linear_head(120, 0).weight)
    measure(head, banks, norms)
    mixed = shown[0].mixed
    assert mixed is not None
    first, second = torch.arange(300) % 18, torch.arange(300) * 7 % 18
    head.seen.clear()
    logits = mixed(first, second, 0.55)
    assert head.seen == [128, 128, 44]
    rows = norms[1](banks.target.clips.read(0, 18))
    wanted = head((0.55 * rows[first] + 0.45 * rows[second])[:, None]).detach()
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=0)
    monkeypatch.setattr(measuring, "BATCH", 7)
    head.seen.clear()
    torch.testing.assert_close(mixed(first[:18], second[:18], 0.55), logits[:18], atol=1e-5, rtol=0)
    assert head.seen == [7, 7, 4]


def test_pseudo_labels_are_counted_where_they_are_sure() -> None:
    # softmax of (a, 0): 0.5, 0.731, 0.881, 0.269 for the first class, so 0.731 for the second.
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    found = pseudo_labelled(logits, torch.tensor([0, 0, 1, -1]), 0.7)
    assert found == {"threshold": 0.7, "coverage": 0.75, "precision": 0.5, "n_confident": 3, "n_labelled": 2}
    assert pseudo_labelled(logits, torch.tensor([0, 0, 1, -1]), 0.9)["precision"] is None
    # A probability of exactly the threshold is enough, as it is in training.
    assert pseudo_labelled(logits, torch.tensor([0, 0, 1, -1]), 0.5)["n_confident"] == 4
    none = pseudo_labelled(logits, torch.full((4,), -1), 0.7)
    assert none == {**found, "precision": None, "n_labelled": 0}


def test_pseudo_labels_are_of_the_training_videos(make_cache: MakeCache) -> None:
    banks, norms = seen_by(RECOMMENDED, make_cache(test=True))
    head = wide_linear_head(120, 0).eval()
    probability, likeliest = predict_logits(head, banks.target, norms[1]).softmax(dim=1).max(dim=1)
    threshold = float(probability.median())
    sure = probability >= threshold
    assert 0 < int(sure.sum()) < 18
    pseudo = measure(head, banks, norms, threshold).line["pseudo"]
    assert (pseudo["threshold"], pseudo["n_confident"]) == (threshold, int(sure.sum()))
    assert pseudo["coverage"] == pytest.approx(float(sure.double().mean()))
    assert pseudo["precision"] == pytest.approx(float((likeliest == banks.target.labels)[sure].double().mean()))

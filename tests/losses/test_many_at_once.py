"""Losses of several heads in one call: the same as one call for each, with numbers of their own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from comix_fast.errors import ShapeError
from comix_fast.heads import TemporalGraph
from comix_fast.losses import (
    LossTerms,
    classification_loss,
    comix_loss,
    pseudo_labels,
    supervised_contrastive,
)

R, B, N, D, C = 3, 5, 16, 9, 4
PER_HEAD = {
    "lambda_bgm": [0.1, 0.5, 2.0],
    "lambda_tpl": [1.0, 0.01, 0.3],
    "pseudo_threshold": [0.2, 0.3, 0.45],
    "temperature": [0.5, 0.07, 2.0],
    "label_smoothing": [0.0, 0.1, 0.5],
}


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def test_contrasts_of_several_heads_are_a_loop_over_them() -> None:
    views = rolls(R, B, 2, C).softmax(dim=-1).requires_grad_()
    labels = torch.tensor([[0, 0, 1, 2, 1], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4]])
    keep = torch.tensor([[True, True, False, True, True], [True] * 5, [False] * 5])
    temperature = torch.tensor([0.5, 0.07, 2.0], dtype=torch.double)
    losses = supervised_contrastive(views, labels, temperature, keep=keep)
    assert losses.shape == (R,)
    (gradient,) = torch.autograd.grad(losses.sum(), views)
    for head in range(R):
        alone = views[head].detach().requires_grad_()
        loss = supervised_contrastive(alone, labels[head], float(temperature[head]), keep=keep[head])
        loss.backward()
        torch.testing.assert_close(losses[head], loss)
        torch.testing.assert_close(gradient[head], alone.grad)
    assert losses[2] == 0.0
    assert not torch.isclose(losses[0], losses[1])


def test_what_is_shared_need_not_be_repeated() -> None:
    views = rolls(2, R, B, 2, C).softmax(dim=-1)
    labels, keep = torch.tensor([0, 0, 1, 2, 1]), torch.tensor([True, True, True, False, True])
    temperature = torch.tensor([0.5, 0.07, 2.0], dtype=torch.double)
    losses = supervised_contrastive(views, labels, temperature, keep=keep)
    plain = supervised_contrastive(views)
    assert losses.shape == plain.shape == (2, R)
    for part in range(2):
        for head in range(R):
            alone = supervised_contrastive(views[part, head], labels, float(temperature[head]), keep=keep)
            torch.testing.assert_close(losses[part, head], alone)
            torch.testing.assert_close(plain[part, head], supervised_contrastive(views[part, head]))


@pytest.mark.parametrize("smoothing", [0.1, 0.0, torch.tensor([0.0, 0.1, 0.5], dtype=torch.double)])
def test_classification_is_torchs_cross_entropy_head_by_head(smoothing: float | Tensor) -> None:
    logits, labels = 3 * rolls(R, B, C), torch.randint(C, (R, B), generator=torch.Generator().manual_seed(1))
    losses = classification_loss(logits, labels, smoothing)
    each = torch.as_tensor(smoothing).expand(R).tolist()
    expected = [F.cross_entropy(logits[head], labels[head], label_smoothing=each[head]) for head in range(R)]
    torch.testing.assert_close(losses, torch.stack(expected))
    torch.testing.assert_close(classification_loss(logits[1], labels[1], each[1]), expected[1])


def test_thresholds_may_be_each_heads_own() -> None:
    fast, slow = 4 * rolls(R, 40, C), 4 * rolls(R, 40, C, seed=1)
    thresholds = torch.tensor([0.3, 0.6, 0.9], dtype=torch.double)
    label, confident = pseudo_labels(fast, slow, thresholds)
    assert label.shape == confident.shape == (R, 40)
    for head in range(R):
        theirs = pseudo_labels(fast[head], slow[head], float(thresholds[head]))
        assert torch.equal(label[head], theirs.label)
        assert torch.equal(confident[head], theirs.confident)
    shares = confident.double().mean(dim=1)
    assert shares[0] > shares[1] > shares[2] > 0


@dataclass
class Step:
    """R heads, their streams, and the clips of their slow views."""

    heads: list[TemporalGraph]
    streams: dict[str, Tensor | None]
    labels: Tensor
    slow: Tensor

    def together(self, **numbers: object) -> tuple[LossTerms, TemporalGraph]:
        joined = TemporalGraph.side_by_side(self.heads).eval()
        return comix_loss(joined, **self.streams, labels=self.labels, slow_index=self.slow, **numbers), joined  # type: ignore[arg-type]

    def alone(self, head: int, **numbers: object) -> LossTerms:
        streams = {name: None if stream is None else stream[head] for name, stream in self.streams.items()}
        return comix_loss(self.heads[head], **streams, labels=self.labels[head], slow_index=self.slow[head], **numbers)  # type: ignore[arg-type]


def a_step(mixing: bool = True, n_target: int = B) -> Step:
    torch.manual_seed(0)
    heads = [TemporalGraph(D, 8, C).double().eval() for _ in range(R)]
    sizes = {"source": B, "target": n_target, "source_mixed": B, "target_mixed": n_target}
    streams = {
        name: 2 * rolls(R, size, N, D, seed=seed) if mixing or "mixed" not in name else None
        for seed, (name, size) in enumerate(sizes.items())
    }
    slow = torch.zeros(R, N, dtype=torch.bool)
    for head, step in enumerate((4, 2, 3)):
        slow[head, ::step] = True
    return Step(heads, streams, torch.randint(C, (R, B)), slow)


@pytest.mark.parametrize("mixing", [True, False])
@pytest.mark.parametrize("n_target", [B, 3])
def test_the_objective_of_several_heads_is_a_loop_over_them(mixing: bool, n_target: int) -> None:
    step = a_step(mixing, n_target)
    terms, joined = step.together(**{name: torch.tensor(v, dtype=torch.double) for name, v in PER_HEAD.items()})
    terms.total.sum().backward()
    for head in range(R):
        alone = step.alone(head, **{name: values[head] for name, values in PER_HEAD.items()})
        alone.total.backward()
        for name in ("cls", "bgm", "tpl", "total"):
            assert getattr(terms, name).shape == (R,)
            torch.testing.assert_close(getattr(terms, name)[head], getattr(alone, name), msg=f"{name} of {head}")
        assert terms.pseudo is not None
        assert alone.pseudo is not None
        assert torch.equal(terms.pseudo.confident[head], alone.pseudo.confident)
        assert alone.bgm > 0
        for ours, theirs in zip(joined.parameters(), step.heads[head].parameters(), strict=True):
            assert ours.grad is not None
            torch.testing.assert_close(ours.grad[head], theirs.grad)
    assert (terms.tpl[:2] > 0).all()


def test_a_number_shared_by_all_is_that_number_for_each() -> None:
    step = a_step()
    numbers = {name: values[1] for name, values in PER_HEAD.items()}
    shared, _ = step.together(**numbers)
    vectors, _ = step.together(**{name: torch.full((R,), v, dtype=torch.double) for name, v in numbers.items()})
    torch.testing.assert_close(shared.total, vectors.total)


@pytest.mark.parametrize(("weight", "term"), [("lambda_bgm", "bgm"), ("lambda_tpl", "tpl")])
def test_a_weight_of_zero_among_others_leaves_that_heads_total_alone(weight: str, term: str) -> None:
    step = a_step()
    mixed, _ = step.together(**{weight: torch.tensor([0.0, 0.2, 0.0], dtype=torch.double)})
    for head, value in enumerate((0.0, 0.2, 0.0)):
        torch.testing.assert_close(mixed.total[head], step.alone(head, **{weight: value}).total)
    off, _ = step.together(**{weight: 0.0})
    assert getattr(off, term).tolist() == [0.0] * R


def test_shapes_that_do_not_fit_are_named() -> None:
    views = rolls(R, B, 2, C)
    with pytest.raises(ShapeError, match=r"labels must be \[5\].*not \[3, 4\]"):
        supervised_contrastive(views, torch.zeros(R, 4, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"keep must be \[5\].*not \[3, 5\]"):
        supervised_contrastive(views[0], keep=torch.ones(R, B, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"labels must be \[5\].*not \[\]"):
        supervised_contrastive(views, torch.tensor(0))
    step = a_step()
    step.streams["source_mixed"] = rolls(R, B - 1, N, D)
    with pytest.raises(ShapeError, match=r"source_mixed \[3, 4, 16, 9\] must have the shape of source \[3, 5, 16, 9\]"):
        step.together()
    step.streams["source_mixed"] = None
    with pytest.raises(ShapeError, match="both domains"):
        step.together()

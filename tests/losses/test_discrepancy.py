"""Disagreement of two classifiers by hand, by plain loops, and for several heads at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.discrepancy import classifier_discrepancy


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(z) for z in logits]
    return [power / sum(powers) for power in powers]


def by_loops(one: Tensor, two: Tensor) -> float:
    """Saito et al.: for every video the mean over classes of |p1 − p2|, then the mean over videos."""
    total = 0.0
    for ours, theirs in zip(one.tolist(), two.tolist(), strict=True):
        pairs = list(zip(softmax(ours), softmax(theirs), strict=True))
        total += sum(abs(p - q) for p, q in pairs) / len(pairs)
    return total / len(one)


def test_sure_of_different_classes_is_the_most_there_is() -> None:
    one, two = torch.tensor([[40.0, 0, 0, 0]]), torch.tensor([[0, 0, 40.0, 0]])
    assert classifier_discrepancy(one, two).item() == pytest.approx(2 / 4)
    # Two classes with odds 3 : 1 and 1 : 3 are |3/4 − 1/4| apart in both.
    odds = torch.tensor([[math.log(3.0), 0.0]])
    assert classifier_discrepancy(odds, -odds).item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_videos", [1, 2, 5])
def test_drawn_logits_by_plain_loops(n_videos: int, dtype: torch.dtype) -> None:
    one, two = 2 * rolls(n_videos, 4), 2 * rolls(n_videos, 4, seed=1)
    loss = classifier_discrepancy(one.to(dtype), two.to(dtype))
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(by_loops(one, two), rel=1e-12 if dtype == torch.float64 else 1e-5)
    torch.testing.assert_close(classifier_discrepancy(two.to(dtype), one.to(dtype)), loss)


def test_losses_of_several_heads_are_a_loop_over_them() -> None:
    one, two = rolls(2, 3, 4, 5), rolls(2, 3, 4, 5, seed=1)
    losses = classifier_discrepancy(one, two)
    assert losses.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert losses[i, j].item() == pytest.approx(by_loops(one[i, j], two[i, j]))


def test_gradients_are_those_of_finite_differences() -> None:
    logits = rolls(2, 3, 4).requires_grad_(), rolls(2, 3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(classifier_discrepancy, logits)


@pytest.mark.parametrize("logits", [torch.zeros(1, 3), torch.ones(2, 3), torch.tensor([[1e4, -1e4, 0.0]] * 2)])
def test_where_both_agree_it_is_zero_with_finite_gradients(logits: Tensor) -> None:
    one, two = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = classifier_discrepancy(one, two)
    loss.backward()
    assert loss.item() == 0.0
    assert one.grad is not None
    assert two.grad is not None
    assert not one.grad.any()
    assert not two.grad.any()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"one \[4, 3\] and two \[1, 3\] must be \[..., B, C\] alike"):
        classifier_discrepancy(rolls(4, 3), rolls(1, 3))
    with pytest.raises(ShapeError, match=r"one \[3\] and two \[3\]"):
        classifier_discrepancy(rolls(3), rolls(3))
    with pytest.raises(ShapeError, match="B above 0"):
        classifier_discrepancy(rolls(0, 3), rolls(0, 3))

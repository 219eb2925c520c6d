"""Gradients turned round, the schedule's values, and the domain classifier's loss by plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.adversarial import dann_schedule, domain_loss, reverse_gradient


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def by_loops(source: Tensor, target: Tensor) -> float:
    ours = [-math.log(1 / (1 + math.exp(-z))) for z in source.tolist()]
    theirs = [-math.log(1 - 1 / (1 + math.exp(-z))) for z in target.tolist()]
    return (sum(ours) / len(ours) + sum(theirs) / len(theirs)) / 2


@pytest.mark.parametrize("weight", [1.0, 0.0, 0.3, torch.tensor(2.5)])
@pytest.mark.parametrize("shape", [(), (4,), (3, 4, 5)])
def test_values_stay_and_gradients_turn(shape: tuple[int, ...], weight: float | Tensor) -> None:
    x, outer = rolls(*shape).requires_grad_(), rolls(*shape, seed=1)
    ahead = reverse_gradient(x, weight)
    assert torch.equal(ahead, x)
    (gradient,) = torch.autograd.grad((ahead * outer).sum(), x)
    torch.testing.assert_close(gradient, -float(weight) * outer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_head_may_have_a_weight_of_its_own(dtype: torch.dtype) -> None:
    weights = torch.tensor([0.0, 0.5, 2.0])
    x = rolls(3, 4, 5).to(dtype).requires_grad_()
    reverse_gradient(x, weights).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    for head, weight in enumerate((0.0, 0.5, 2.0)):
        assert torch.equal(x.grad[head], torch.full_like(x.grad[head], -weight))


def test_what_lies_above_learns_as_ever_and_below_the_opposite() -> None:
    features, weights = rolls(4, 3).requires_grad_(), rolls(3, 1, seed=1).requires_grad_()

    def gradients(x: Tensor) -> tuple[Tensor, ...]:
        logits = (x @ weights).squeeze(-1)
        return torch.autograd.grad(domain_loss(logits[:2], logits[2:]), (features, weights))

    plain, turned = gradients(features), gradients(reverse_gradient(features, 0.7))
    torch.testing.assert_close(turned[0], -0.7 * plain[0])
    torch.testing.assert_close(turned[1], plain[1])
    assert plain[0].any()


def test_no_gradient_flows_into_the_weight() -> None:
    x, weight = rolls(2, 3).requires_grad_(), torch.tensor(0.5, requires_grad=True)
    reverse_gradient(x, weight).sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, torch.full((2, 3), -0.5, dtype=torch.double))


def test_the_schedules_values() -> None:
    assert dann_schedule(0.0) == 0.0
    assert dann_schedule(0.1) == pytest.approx(math.tanh(0.5))
    assert dann_schedule(0.5) == pytest.approx(0.98661, abs=1e-5)
    assert dann_schedule(1.0) == pytest.approx(0.99991, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_source", "n_target"), [(1, 1), (2, 2), (3, 8)])
def test_drawn_logits_by_plain_loops(n_source: int, n_target: int, dtype: torch.dtype) -> None:
    source, target = 3 * rolls(n_source), 3 * rolls(n_target, seed=1)
    loss = domain_loss(source.to(dtype), target.to(dtype))
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(by_loops(source, target), rel=1e-10 if dtype == torch.float64 else 1e-5)


def test_both_domains_weigh_the_same_whatever_their_sizes() -> None:
    source, target = rolls(3), rolls(5, seed=1)
    torch.testing.assert_close(domain_loss(source, target.repeat(4)), domain_loss(source, target))
    assert domain_loss(torch.zeros(2), torch.zeros(7)).item() == pytest.approx(math.log(2))
    assert domain_loss(torch.full((2,), 9.0), torch.full((3,), -9.0)).item() < 1e-3
    assert domain_loss(torch.full((2,), -9.0), torch.full((3,), -9.0)).item() == pytest.approx(4.5, abs=1e-3)


def test_losses_of_several_heads_are_a_loop_over_them() -> None:
    source, target = rolls(2, 3, 4), rolls(2, 3, 5, seed=1)
    losses = domain_loss(source, target)
    assert losses.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert losses[i, j].item() == pytest.approx(by_loops(source[i, j], target[i, j]))


def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(domain_loss, (rolls(2, 3).requires_grad_(), rolls(2, 4, seed=1).requires_grad_()))


def test_sure_and_wrong_is_steep_but_finite() -> None:
    logits = torch.tensor([-500.0]).requires_grad_(), torch.tensor([500.0]).requires_grad_()
    loss = domain_loss(*logits)
    loss.backward()
    assert loss.item() == pytest.approx(500)
    assert [of.grad.item() for of in logits if of.grad is not None] == pytest.approx([-0.5, 0.5])


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"source_logits \[2, 3\] and target_logits \[3, 3\] must be \[..., B\]"):
        domain_loss(rolls(2, 3), rolls(3, 3))
    with pytest.raises(ShapeError, match=r"source_logits \[\] and"):
        domain_loss(rolls(), rolls(3))
    with pytest.raises(ShapeError, match=r"no video in source_logits \[2, 3\] or \[2, 0\]"):
        domain_loss(rolls(2, 3), rolls(2, 0))
    for shape in ((2,), (1,), (3, 1)):
        with pytest.raises(ShapeError, match=r"weight must be a number or \[R\] for x \[3, 4\]"):
            reverse_gradient(rolls(3, 4), torch.ones(shape))

"""The discrepancy of kernel means on points one can sketch, by plain loops, and for several heads at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.mmd import mmd

MULTIPLIERS = (0.25, 0.5, 1, 2, 4)


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def squared(x: Sequence[float], y: Sequence[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def mean_bandwidth(source: Tensor, target: Tensor) -> float:
    points = source.tolist() + target.tolist()
    apart = [squared(x, y) for i, x in enumerate(points) for y in points[:i]]
    return sum(apart) / len(apart)


def by_loops(
    source: Tensor, target: Tensor, multipliers: Sequence[float] = MULTIPLIERS, bandwidth: float | None = None
) -> float:
    """Gretton et al. 2012, eq. 5, kernel by kernel and pair by pair."""
    base = mean_bandwidth(source, target) if bandwidth is None else bandwidth
    total = 0.0
    for multiplier in multipliers:
        for ours, theirs, sign in ((source, source, 1), (target, target, 1), (source, target, -2)):
            kernels = [math.exp(-squared(x, y) / (multiplier * base)) for x in ours.tolist() for y in theirs.tolist()]
            total += sign * sum(kernels) / len(kernels)
    return total / len(multipliers)


def test_two_videos_by_hand() -> None:
    # One pair, so its distance is the bandwidth: 1 + 1 − 2 exp(−1 / m).
    one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert mmd(one, other, (1,)).item() == pytest.approx(2 - 2 * math.exp(-1))
    assert mmd(one, other, (1, 4)).item() == pytest.approx(2 - math.exp(-1) - math.exp(-1 / 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("multipliers", [MULTIPLIERS, (1,), (0.1, 3)])
@pytest.mark.parametrize(("n_source", "n_target"), [(1, 1), (2, 2), (4, 3), (1, 5)])
def test_drawn_points_by_plain_loops(
    n_source: int, n_target: int, multipliers: Sequence[float], dtype: torch.dtype
) -> None:
    source, target = rolls(n_source, 3), rolls(n_target, 3, seed=1) + 0.5
    loss = mmd(source.to(dtype), target.to(dtype), multipliers)
    assert loss.dtype == dtype
    expected = by_loops(source, target, multipliers)
    assert loss.item() == pytest.approx(expected, rel=1e-10 if dtype == torch.float64 else 1e-4)


def test_where_and_how_large_the_features_are_does_not_matter() -> None:
    source, target = rolls(5, 3), rolls(4, 3, seed=1) + 1
    torch.testing.assert_close(mmd(100 * source, 100 * target), mmd(source, target))
    far = mmd((source + 1e3).float(), (target + 1e3).float())
    assert far.item() == pytest.approx(mmd(source, target).item(), rel=1e-3)


def test_it_is_never_negative_and_falls_as_domains_meet() -> None:
    points = rolls(6, 8).float()
    assert mmd(points, points).item() == pytest.approx(0.0, abs=1e-6)
    halves = rolls(200, 6, 4).float()
    assert (mmd(halves[:, :3], halves[:, 3:]) > 0).all()
    copies = mmd(halves, halves.flip(-2))
    assert (copies >= 0).all()
    near, far = (mmd(points, points + shift).item() for shift in (0.2, 2.0))
    assert 0 < near < far <= 2


def test_no_gradient_flows_through_the_bandwidth() -> None:
    source, target = rolls(3, 2).requires_grad_(), rolls(4, 2, seed=1)
    (gradient,) = torch.autograd.grad(mmd(source, target), source)
    base, step = mean_bandwidth(source, target), 1e-5
    for row in range(3):
        for column in range(2):
            nudge = torch.zeros(3, 2, dtype=torch.double)
            nudge[row, column] = step
            up, down = (by_loops(source.detach() + s * nudge, target, bandwidth=base) for s in (1, -1))
            assert gradient[row, column].item() == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)


def test_losses_of_several_heads_are_a_loop_over_them() -> None:
    scale = torch.tensor([0.1, 1.0, 30.0], dtype=torch.double)[:, None, None]
    source, target = (scale * rolls(2, 3, 4, 6)).requires_grad_(), scale * rolls(2, 3, 5, 6, seed=1) + 1
    losses = mmd(source, target)
    assert losses.shape == (2, 3)
    (gradient,) = torch.autograd.grad(losses.sum(), source)
    for i in range(2):
        for j in range(3):
            alone = source[i, j].detach().requires_grad_()
            loss = mmd(alone, target[i, j])
            loss.backward()
            assert loss.item() == pytest.approx(by_loops(alone, target[i, j]))
            torch.testing.assert_close(losses[i, j], loss)
            torch.testing.assert_close(gradient[i, j], alone.grad)


@pytest.mark.parametrize(
    ("source", "target", "loss"),
    [
        (torch.full((3, 4), 0.1), torch.full((2, 4), 0.1), 0.0),
        (torch.zeros(1, 4), torch.zeros(1, 4), 0.0),
        (torch.full((2, 4), 0.1), torch.full((2, 4), 0.7), None),
        (rolls(2, 4).float().repeat(2, 1), rolls(1, 4, seed=1).float(), None),
    ],
    ids=["all videos identical", "one video each, at 0", "identical within each domain", "every source video twice"],
)
def test_degenerate_points_have_finite_gradients(source: Tensor, target: Tensor, loss: float | None) -> None:
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    ours = mmd(source, target)
    ours.backward()
    assert source.grad is not None
    assert target.grad is not None
    assert torch.isfinite(source.grad).all()
    assert torch.isfinite(target.grad).all()
    assert source.grad.abs().max() < 1e2
    expected = by_loops(source.double(), target.double()) if loss is None else loss
    assert ours.item() == pytest.approx(expected, rel=1e-4)


def test_one_head_of_equal_features_leaves_the_others_alone() -> None:
    source = torch.stack([torch.ones(3, 4), rolls(3, 4).float()]).requires_grad_()
    target = torch.stack([torch.ones(2, 4), rolls(2, 4, seed=1).float()])
    losses = mmd(source, target)
    losses.sum().backward()
    assert source.grad is not None
    assert not source.grad[0].any()
    assert source.grad[1].any()
    assert losses[0].item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(losses[1], mmd(source[1], target[1]))


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"source \[4, 3\] and target \[4, 2\] must be \[..., B, D\]"):
        mmd(rolls(4, 3), rolls(4, 2))
    with pytest.raises(ShapeError, match=r"no video in source \[2, 0, 3\]"):
        mmd(rolls(2, 0, 3), rolls(2, 1, 3))

"""The distance of covariances on points one can sketch, by plain loops, and for several heads at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.coral import coral

# A cross along the axes, and the same cross turned by 45 degrees and half as large: the mean of both is 0.
CROSS = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.double)
TURNED = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.5, -0.5]], dtype=torch.double)


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def covariance(points: list[list[float]]) -> list[list[float]]:
    n, dims = len(points), range(len(points[0]))
    mean = [sum(point[i] for point in points) / n for i in dims]
    return [[sum((p[i] - mean[i]) * (p[j] - mean[j]) for p in points) / max(n - 1, 1) for j in dims] for i in dims]


def by_loops(source: Tensor, target: Tensor) -> float:
    """Sun & Saenko, eq. 1–3, number by number."""
    ours, theirs, dims = covariance(source.tolist()), covariance(target.tolist()), range(source.shape[1])
    return sum((ours[i][j] - theirs[i][j]) ** 2 for i in dims for j in dims) / (4 * len(dims) ** 2)


def test_a_cross_by_hand() -> None:
    # Covariance diag(8/3, 2/3) against none at all: ((8/3)² + (2/3)²) / 16.
    nowhere = torch.zeros(3, 2, dtype=torch.double)
    assert coral(CROSS, nowhere).item() == pytest.approx((64 / 9 + 4 / 9) / 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("source", "target"), [(CROSS, TURNED), (TURNED, CROSS), (rolls(2, 5), rolls(7, 5, seed=1))])
def test_drawn_points_by_plain_loops(source: Tensor, target: Tensor, dtype: torch.dtype) -> None:
    loss = coral(source.to(dtype), target.to(dtype))
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(by_loops(source, target), rel=1e-12 if dtype == torch.float64 else 1e-5)


def test_means_do_not_matter_and_scale_does() -> None:
    torch.testing.assert_close(coral(CROSS + 5, TURNED - 3), coral(CROSS, TURNED))
    torch.testing.assert_close(coral(3 * CROSS, 3 * TURNED), 81 * coral(CROSS, TURNED))


def test_losses_of_several_heads_are_a_loop_over_them() -> None:
    source, target = rolls(2, 3, 4, 6).requires_grad_(), rolls(2, 3, 5, 6, seed=1).requires_grad_()
    losses = coral(source, target)
    assert losses.shape == (2, 3)
    gradients = torch.autograd.grad(losses.sum(), (source, target))
    for i in range(2):
        for j in range(3):
            ours, theirs = source[i, j].detach().requires_grad_(), target[i, j].detach().requires_grad_()
            loss = coral(ours, theirs)
            assert loss.item() == pytest.approx(by_loops(ours, theirs))
            torch.testing.assert_close(losses[i, j], loss)
            for together, alone in zip(gradients, torch.autograd.grad(loss, (ours, theirs)), strict=True):
                torch.testing.assert_close(together[i, j], alone)


def test_gradients_are_those_of_finite_differences() -> None:
    points = rolls(2, 3, 4).requires_grad_(), rolls(2, 2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(coral, points)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (torch.ones(4, 3), torch.ones(2, 3)),
        (torch.ones(1, 3), torch.full((1, 3), 7.0)),
        (rolls(2, 3).float(), torch.ones(1, 3)),
        (rolls(4, 3).float(), rolls(4, 3).float()),
    ],
    ids=["identical rows", "one video each", "one video against two", "equal domains"],
)
def test_degenerate_points_have_finite_gradients(source: Tensor, target: Tensor) -> None:
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    loss = coral(source, target)
    loss.backward()
    assert source.grad is not None
    assert target.grad is not None
    assert torch.isfinite(source.grad).all()
    assert torch.isfinite(target.grad).all()
    assert loss.item() >= 0
    assert loss.item() == pytest.approx(by_loops(source, target), abs=1e-6)


def test_shapes_that_do_not_fit_are_named() -> None:
    for target in (rolls(4, 3), rolls(1, 4, 2), rolls(2)):
        with pytest.raises(ShapeError, match=r"source \[4, 2\] and target \["):
            coral(CROSS, target)
    with pytest.raises(ShapeError, match=r"source \[2\] and target \[2\] must be \[..., B, D\]"):
        coral(rolls(2), rolls(2))
    with pytest.raises(ShapeError, match=r"no video in source \[4, 2\] or target \[0, 2\]"):
        coral(CROSS, rolls(0, 2))

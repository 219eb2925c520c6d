"""AdaMatch's parts by hand and by plain loops: interpolation, alignment, threshold, warm-up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.adamatch import align, interpolate_logits, ramp, relative_threshold

R, B, C = 3, 4, 3


def rolls(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def probabilities(*shape: int, seed: int = 0) -> Tensor:
    return rolls(*shape, seed=seed).softmax(dim=-1)


def aligned_by_loops(target: Tensor, source_mean: Tensor, target_mean: Tensor) -> Tensor:
    rows = []
    for row in target.tolist():
        scaled = [q * (1e-6 + s) / (1e-6 + t) for q, s, t in zip(row, source_mean, target_mean, strict=True)]
        rows.append([float(value / sum(scaled)) for value in scaled])
    return torch.tensor(rows, dtype=target.dtype)


@pytest.mark.parametrize("shape", [(1, C), (B, C), (2, R, B, C)])
def test_logits_are_between_both_number_by_number(shape: tuple[int, ...]) -> None:
    together, alone = rolls(*shape).requires_grad_(), rolls(*shape, seed=1).requires_grad_()
    share = torch.rand(shape, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    between = interpolate_logits(together, alone, share)
    numbers = zip(*(of.flatten().tolist() for of in (between, together, alone, share)), strict=True)
    for ours, one, other, part in numbers:
        assert ours == pytest.approx(part * one + (1 - part) * other)
    between.sum().backward()
    torch.testing.assert_close(together.grad, share)
    torch.testing.assert_close(alone.grad, 1 - share)


def test_a_share_of_one_is_the_joint_pass() -> None:
    together, alone = rolls(B, C), rolls(B, C, seed=1)
    assert torch.equal(interpolate_logits(together, alone, torch.ones(B, C, dtype=torch.double)), together)
    assert torch.equal(interpolate_logits(together, alone, torch.zeros(B, C, dtype=torch.double)), alone)


def test_alignment_by_hand() -> None:
    # The source has the first class three times as often as the target thinks it has, the second a third as often.
    row, source, target = torch.tensor([[0.25, 0.75]]), torch.tensor([0.75, 0.25]), torch.tensor([0.25, 0.75])
    torch.testing.assert_close(align(row, source, target), torch.tensor([[0.75, 0.25]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alignment_by_plain_loops(dtype: torch.dtype) -> None:
    target, source_mean = probabilities(B, C), probabilities(C, seed=1)
    ours = align(target.to(dtype), source_mean.to(dtype), target.mean(dim=0).to(dtype))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, aligned_by_loops(target, source_mean, target.mean(dim=0)).to(dtype))
    torch.testing.assert_close(ours.sum(dim=-1), torch.ones(B, dtype=dtype))


def test_equal_means_change_nothing() -> None:
    target, mean = probabilities(B, C), probabilities(C, seed=1)
    torch.testing.assert_close(align(target, mean, mean), target)


def test_alignment_of_several_heads_is_a_loop_over_them() -> None:
    target, source_mean, target_mean = (
        probabilities(2, R, B, C),
        probabilities(2, R, C, seed=1),
        probabilities(C, seed=2),
    )
    ours = align(target, source_mean, target_mean)
    for i in range(2):
        for j in range(R):
            torch.testing.assert_close(ours[i, j], aligned_by_loops(target[i, j], source_mean[i, j], target_mean))


def test_a_class_that_a_domain_lacks_divides_by_nothing() -> None:
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    ours = align(target, torch.tensor([0.0, 0.5, 0.5]), target.mean(dim=0))
    # All that a row has is scaled alike, so a one-hot row stays as it is.
    torch.testing.assert_close(ours, target)
    assert torch.isfinite(align(target[:1], torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3))).all()


def test_labels_and_thresholds_have_no_gradient() -> None:
    target = probabilities(B, C).requires_grad_()
    mean = target.mean(dim=0)
    assert not align(target, mean, mean).requires_grad
    assert not relative_threshold(target).requires_grad


def test_the_threshold_is_a_share_of_the_sources_confidence() -> None:
    source = torch.tensor([[0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    assert relative_threshold(source, 0.5).item() == pytest.approx(0.4)
    assert relative_threshold(source[:1]).item() == pytest.approx(0.54)


@pytest.mark.parametrize("tau", [0.9, torch.tensor(0.9), torch.tensor([0.2, 0.9])])
def test_thresholds_of_several_heads_are_a_loop_over_them(tau: float | Tensor) -> None:
    source = probabilities(2, R, B, C)
    ours = relative_threshold(source, tau)
    each = torch.as_tensor(tau).expand(2).tolist()
    assert ours.shape == (2, R)
    for i in range(2):
        for j in range(R):
            largest = [max(row) for row in source[i, j].tolist()]
            assert ours[i, j].item() == pytest.approx(each[i] * sum(largest) / B)


def test_the_warm_up_ends_half_way() -> None:
    assert ramp(0.0) == 0.0
    assert ramp(0.125) == pytest.approx(0.5 - 0.5**1.5)
    assert ramp(0.25) == pytest.approx(0.5)
    assert [ramp(progress) for progress in (0.5, 0.7, 1.0)] == [1.0, 1.0, 1.0]


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"together \[4, 3\], alone \[4, 3\] and share \[4, 1\] must have one shape"):
        interpolate_logits(rolls(B, C), rolls(B, C), rolls(B, 1))
    target, mean = probabilities(2, B, C), probabilities(2, C)
    with pytest.raises(ShapeError, match=r"source_mean must be \[..., C\] to match target_probability \[2, 4, 3\]"):
        align(target, probabilities(3, C), mean)
    with pytest.raises(ShapeError, match=r"target_mean must be .* not \[4\]"):
        align(target, mean, probabilities(4))
    with pytest.raises(ShapeError, match=r"target_mean must be .* not \[\]"):
        align(target, mean, torch.tensor(0.5))
    with pytest.raises(ShapeError, match=r"source_probability must be \[..., B, C\], B above 0, not \[0, 3\]"):
        relative_threshold(probabilities(0, C))
    with pytest.raises(
        ShapeError, match=r"tau must be a number or \[R\] for source_probability \[2, 4, 3\].*not \[3\]"
    ):
        relative_threshold(target, torch.ones(3))

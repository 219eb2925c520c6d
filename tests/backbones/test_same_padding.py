"""SAME padding and pooling, against a search for the least padding and against padded copies."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from comix_fast.backbones.i3d import Stem, Unit3D
from comix_fast.backbones.same import max_pool_same, max_pool_without_writes, same_padding

POOLS = [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))]
SIZES = [(8, 12, 10), (5, 7, 9), (1, 2, 3), (2, 1, 1), (4, 6, 5)]


@pytest.mark.parametrize("kernel", [1, 2, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_the_least_that_gives_every_stride_an_output(kernel: int, stride: int) -> None:
    for size in range(1, 40):
        wanted = (size + stride - 1) // stride
        total = 0
        while (size + total - kernel) // stride + 1 < wanted:
            total += 1
        before, after = same_padding(size, kernel, stride)
        assert before + after == total
        assert after - before in (0, 1)


def test_published_sizes() -> None:
    assert same_padding(224, 7, 2) == (2, 3)
    assert same_padding(8, 7, 2) == (2, 3)
    assert same_padding(112, 3, 2) == (0, 1)
    assert same_padding(225, 7, 2) == (3, 3)


def padded(x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.pad(x, [side for pad in reversed(pads) for side in pad])


@pytest.mark.parametrize(("kernel", "stride"), POOLS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_equals_pooling_of_a_zero_padded_copy(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], size: tuple[int, int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, *size).to(dtype)
    expected = F.max_pool3d(padded(x.relu(), kernel, stride), kernel, stride)
    assert torch.equal(max_pool_same(x.relu(), kernel, stride), expected)
    assert torch.equal(max_pool_same(x, kernel, stride).relu(), expected)  # ReLU after, as behind the stem
    assert torch.equal(max_pool_same(x.relu().requires_grad_(), kernel, stride), expected)
    assert torch.equal(max_pool_without_writes(x.relu(), kernel, stride), expected)
    assert torch.equal(max_pool_without_writes(x, kernel, stride).relu(), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_pooling_keeps_a_channel_that_is_not_finite(sign: int) -> None:
    x = torch.rand(1, 3, 4, 6, 6).to(torch.bfloat16)
    x[:, 1] = torch.tensor(float("nan")).copysign(torch.tensor(float(sign)))
    pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1)).relu()
    assert bool(pooled[:, 1].isnan().all()) and bool(pooled[:, ::2].isfinite().all())


def test_pooling_passes_gradients() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 1, 2, 4, 4).requires_grad_()
    max_pool_same(x, (1, 3, 3), (1, 2, 2)).sum().backward()
    expected = torch.zeros(2, 4, 4)
    # Windows of rows and columns 0-2 and 2-4 (cut to 3): the largest is always at the far corner.
    for t in range(2):
        for row in (2, 3):
            for column in (2, 3):
                expected[t, row, column] = 1
    assert x.grad is not None
    assert torch.equal(x.grad[0, 0], expected)


def naive_unit(unit: Unit3D, x: torch.Tensor) -> torch.Tensor:
    """Convolution of a zero-padded copy, batch norm by its formula in float64, ReLU."""
    conv, bn = unit.conv3d, unit.bn
    assert bn is not None and bn.running_mean is not None and bn.running_var is not None
    y = F.conv3d(padded(x, conv.kernel_size, conv.stride).double(), conv.weight.double(), stride=conv.stride)
    shape = (1, -1, 1, 1, 1)
    y = (y - bn.running_mean.double().view(shape)) / (bn.running_var.double().view(shape) + 1e-3).sqrt()
    return (y * bn.weight.double().view(shape) + bn.bias.double().view(shape)).clamp(min=0)


def unit_with_statistics(unit: Unit3D) -> Unit3D:
    assert unit.bn is not None
    for tensor in (unit.bn.weight, unit.bn.bias, unit.bn.running_mean, unit.bn.running_var):
        assert tensor is not None
        tensor.data.uniform_(0.3, 1.7)
    return unit.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(8, 10, 12), (5, 7, 9), (1, 6, 6)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_unit_and_its_folded_form(kernel: int, size: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    unit = unit_with_statistics(Unit3D(6, 8, kernel))
    x = torch.randn(2, 6, *size)
    expected = naive_unit(unit, x)
    torch.testing.assert_close(unit(x).double(), expected, atol=1e-5, rtol=1e-5)
    unit.fold()
    unit.fold()
    torch.testing.assert_close(unit(x).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 20, 22), (5, 13, 11), (1, 8, 7)])
def test_stem_and_its_folded_and_paired_forms(size: tuple[int, int, int]) -> None:
    torch.manual_seed(2)
    stem = unit_with_statistics(Stem(3, 8, 7, 2))
    x = torch.randn(2, 3, *size)
    expected = naive_unit(stem, x)
    torch.testing.assert_close(stem(x).double(), expected, atol=1e-5, rtol=1e-5)
    stem.fold()
    torch.testing.assert_close(stem(x).double(), expected, atol=1e-5, rtol=1e-5)
    stem.pair()
    assert stem.conv3d.weight.shape == (8, 6, 7, 7, 4)
    torch.testing.assert_close(stem(x).double(), expected, atol=1e-5, rtol=1e-5)

"""TensorFlow's SAME padding, and max pooling under it, without padded copies."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Size3 = tuple[int, int, int]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis in TensorFlow's SAME padding; the odd one goes after."""
    n_out = -(-size // stride)
    total = max((n_out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def max_pool_same(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """3-D max pooling with SAME padding of zeros, for maps that a ReLU has passed or passes next.

    x: [B, C, T, H, W] -> [B, C, ceil(T/st), ceil(H/sh), ceil(W/sw)]. Kernels of 1 to 3, no smaller than the stride.
    Beside a ReLU a padded zero never decides a maximum, so windows just end where the map does.
    """
    if torch.compiler.is_exporting():
        return _max_pool_of_padded(x, kernel, stride)
    if torch.compiler.is_compiling():
        return max_pool_without_writes(x, kernel, stride)
    if x.requires_grad and torch.is_grad_enabled():
        pooled: Tensor = _LearntMaxPool.apply(x, kernel, stride)
        return pooled
    return _max_pool_by_axis(x, kernel, stride)


class _LearntMaxPool(torch.autograd.Function):
    """Max pooling that finds its maxima's places on the way back, from the input, which is kept in any case.

    torch keeps eight bytes a maximum: in I3D they were a quarter of an iteration's memory in bf16.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
        ctx.save_for_backward(x)
        ctx.sizes = kernel, stride
        pool = _max_pool_by_axis if x.device.type == "cpu" else _max_pool_to_the_end
        # Copied, since what is a view of something else must not be changed in place, as a ReLU would.
        return pool(x, kernel, stride).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            pooled = _max_pool_to_the_end(x, *ctx.sizes)
        (found,) = torch.autograd.grad(pooled, x, gradients[0])
        return found, None, None


def _max_pool_to_the_end(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """max_pool_same as torch has it, with a way back."""
    before = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.max_pool3d(x, kernel, stride, before, ceil_mode=True)


def _max_pool_by_axis(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """max_pool_same without a gradient."""
    # Three passes of one axis each, over whole rows of channels: 3 to 4 times as fast as max_pool3d in bf16.
    pooled = x.permute(0, 2, 3, 4, 1).contiguous()
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":
        # As whole numbers, bfloat16 bits from 0 up have the order of their values and any below 0 stay below; that
        # is all a ReLU leaves to see. Twice as fast, as nothing is converted.
        pooled = pooled.view(torch.int16)
    for axis in (2, 3, 1):
        pooled = _max_along(pooled, axis, kernel[axis - 1], stride[axis - 1])
    return pooled.view(x.dtype).permute(0, 4, 1, 2, 3)


def max_pool_without_writes(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """max_pool_same without writing into slices, which torch.compile neither takes nor needs."""
    pooled = x.permute(0, 2, 3, 4, 1)
    for axis in (2, 3, 1):
        k, s, size = kernel[axis - 1], stride[axis - 1], pooled.shape[axis]
        if k == s == 1:
            continue
        n_out = -(-size // s)
        padded = F.pad(pooled, [0, 0] * (4 - axis) + list(same_padding(size, k, s)))
        taps = [padded[(slice(None),) * axis + (slice(tap, tap + (n_out - 1) * s + 1, s),)] for tap in range(k)]
        pooled = functools.reduce(torch.maximum, taps)
    return pooled.permute(0, 4, 1, 2, 3)


def _max_pool_of_padded(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """max_pool_same as a padding and a pooling without one: two steps that every program knows."""
    pads = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.max_pool3d(F.pad(x, [zeros for pad in reversed(pads) for zeros in pad]), kernel, stride)


def _max_along(x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """The largest of up to `kernel` neighbours along one axis of a contiguous tensor."""
    if kernel == 1 and stride == 1:
        return x
    size = x.shape[axis]
    n_out = -(-size // stride)
    before, _ = same_padding(size, kernel, stride)
    centre = x[(slice(None),) * axis + (slice(0, None, stride),)]
    out = x.new_empty(centre.shape)
    shifts = [shift for shift in range(kernel - before - 1, -before - 1, -1) if shift]
    largest = centre
    for shift in shifts:
        first = -(min(shift, 0) // stride)
        n = (size - 1 - shift) // stride + 1 - first if shift > 0 else n_out - first
        covered = out.narrow(axis, first, n)
        start = first * stride + shift
        shifted = x[(slice(None),) * axis + (slice(start, start + (n - 1) * stride + 1, stride),)]
        torch.maximum(largest.narrow(axis, first, n), shifted, out=covered)
        if largest is centre and n < n_out:
            out.narrow(axis, n, n_out - n).copy_(centre.narrow(axis, n, n_out - n))
        largest = out
    return out

"""PIL's Lanczos for uint8 pictures in torch, to the very byte, for devices that have no PIL.

PIL resizes in two passes, along the rows and along the columns, each in whole numbers: weights are rounded to
22 binary places, a pixel is the weighted sum plus a half, cut down to 8 bits. Whole numbers below 2^53 are exact in
float64, in whatever order they are added; so each pass is one matrix product.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.video.resize import resize_frame

Order = tuple[int, int]

LOBES = 3.0
BINARY_PLACES = 22
"""Of PIL's weights: 32 bits, less 8 of a pixel and 2 for sums that overshoot."""

ALONG_ROWS, ALONG_COLUMNS = 2, 1
"""The axes of [N, H, W, 3] that the two passes resize."""

COMPARED_PIXELS, MOST_COMPARED = 2048, 512
"""How many pixels of results are compared at least to find the order, and in how many frames at most."""

ORDERS: tuple[Order, Order] = ((ALONG_ROWS, ALONG_COLUMNS), (ALONG_COLUMNS, ALONG_ROWS))


def lanczos_resize(frames: Tensor, size: int) -> Tensor:
    """Each frame as `resize_frame` gives it, on the frames' device.

    frames: uint8 [N, H, W, 3]. Returns uint8 [N, size, size, 3]. Raises ShapeError for anything else, and for an H
    and W for which `agrees_with_pil` is false.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ShapeError(f"frames are uint8 [N, H, W, 3]; got {frames.dtype} {list(frames.shape)}")
    order = _pil_order(int(frames.shape[1]), int(frames.shape[2]), size)
    if order is None:
        raise ShapeError(f"frames of {list(frames.shape[1:3])} are resized otherwise by this version of PIL")
    return _resized(frames, size, order)


def agrees_with_pil(rows: int, columns: int, size: int) -> bool:
    """Whether `lanczos_resize` gives PIL's bytes for frames of this size; found by comparing, once per size."""
    return _pil_order(rows, columns, size) is not None


@functools.lru_cache(maxsize=256)
def _pil_order(rows: int, columns: int, size: int) -> Order | None:
    """Which pass comes first in the PIL that is installed; None if neither order gives its bytes.

    It was the one along the rows, always, until Pillow 13 began with the other one where that saves work.
    """
    # The two orders differ in few pixels, by one: a small result shows it in one of many frames.
    n_frames = min(MOST_COMPARED, 1 + COMPARED_PIXELS // size**2)
    noise = np.random.default_rng(0).integers(0, 256, (n_frames, rows, columns, 3), dtype=np.uint8)
    expected = np.stack([resize_frame(frame, size) for frame in noise])
    frames = torch.from_numpy(noise)
    for order in ORDERS:
        if np.array_equal(_resized(frames, size, order).numpy(), expected):
            return order
    return None


def _resized(frames: Tensor, size: int, order: Order) -> Tensor:
    for axis in order:
        # PIL leaves out a pass that would change nothing.
        if frames.shape[axis] != size:
            weights = _weights_on(int(frames.shape[axis]), size, frames.device)
            lines = frames.transpose(axis, 3)
            frames = _cut(torch.matmul(lines.double(), weights.t())).transpose(axis, 3)
    return frames.contiguous()


def _cut(sums: Tensor) -> Tensor:
    """Sums of weighted pixels to pixels: half a unit is added, the binary places are dropped, 0 to 255 is kept."""
    half, unit = 2.0 ** (BINARY_PLACES - 1), 2.0**-BINARY_PLACES
    return sums.add_(half).mul_(unit).floor_().clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=64)
def _weights_on(n_in: int, n_out: int, device: torch.device) -> Tensor:
    return lanczos_weights(n_in, n_out).to(device)


def lanczos_weights(n_in: int, n_out: int) -> Tensor:
    """float64 [n_out, n_in]: whole numbers, each row summing to about 2^22.

    A pixel of the result lies at (i + ½) · n_in / n_out; the kernel reaches three lobes to either side of it, a lobe
    being one pixel of the coarser of the two grids. Where it leaves the picture, what is left is scaled up.
    """
    scale = n_in / n_out
    lobe = max(scale, 1.0)
    reach = LOBES * lobe
    inverse = 1.0 / lobe
    weights = torch.zeros(n_out, n_in, dtype=torch.float64)
    for i in range(n_out):
        centre = (i + 0.5) * scale
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), n_in)
        taps = [_kernel((j - centre + 0.5) * inverse) for j in range(first, last)]
        total = sum(taps)
        weights[i, first:last] = torch.tensor([_rounded(tap / total) for tap in taps], dtype=torch.float64)
    return weights


def _rounded(weight: float) -> int:
    """To the nearest multiple of 2^-22, halves away from zero, in these units."""
    return int(math.copysign(abs(weight) * 2**BINARY_PLACES + 0.5, weight))


def _kernel(x: float) -> float:
    return _sinc(x) * _sinc(x / LOBES) if -LOBES <= x < LOBES else 0.0


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0

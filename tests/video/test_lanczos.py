"""Lanczos in torch gives the bytes of PIL's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comix_fast.errors import ShapeError
from comix_fast.video import lanczos, resize_frame
from comix_fast.video.lanczos import agrees_with_pil, lanczos_resize, lanczos_weights

SIDE = st.integers(1, 130)


def of_pil(frames: np.ndarray, size: int) -> np.ndarray:
    return np.stack([resize_frame(frame, size) for frame in frames])


@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [
        (240, 320, 224),
        (288, 612, 224),
        (136, 240, 224),
        (480, 640, 224),
        (240, 144, 224),
        (640, 360, 224),
        (1000, 30, 224),
        (224, 224, 224),
        (224, 301, 224),
        (301, 224, 224),
        (47, 63, 224),
        (63, 47, 224),
        (1, 1, 9),
        (9, 9, 1),
    ],
)
def test_bytes_of_common_sizes(rng: np.random.Generator, rows: int, columns: int, size: int) -> None:
    noise = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    # Black and white overshoot both ways, so that cutting to 8 bits between the passes shows.
    harsh = rng.choice(np.array([0, 255], np.uint8), (rows, columns, 3))
    frames = np.stack([noise, harsh])
    assert agrees_with_pil(rows, columns, size)
    ours = lanczos_resize(torch.from_numpy(frames), size)
    assert ours.dtype == torch.uint8
    assert np.array_equal(ours.numpy(), of_pil(frames, size))


@example(rows=9, columns=2, size=1, seed=2)  # the two orders of passes differ here, and in one frame of many only
@given(rows=SIDE, columns=SIDE, size=SIDE, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_bytes_of_any_size(rows: int, columns: int, size: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (1, rows, columns, 3), dtype=np.uint8)
    assert np.array_equal(lanczos_resize(torch.from_numpy(frames), size).numpy(), of_pil(frames, size))


def test_weights_of_a_doubling_by_hand() -> None:
    # Twice as large: each new pixel lies a quarter of an old one from the nearest.
    def kernel(x: float) -> float:
        return math.sin(math.pi * x) / (math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x / 3)

    weights = lanczos_weights(20, 40)
    distances = [20.25 - 0.5 - j for j in range(17, 23)]  # of new pixel 40 in an endless row: 20.25 − (j + 0.5)
    taps = np.array([kernel(distance) for distance in distances])
    middle = weights[20].nonzero().flatten()
    assert middle.tolist() == [7, 8, 9, 10, 11, 12]
    np.testing.assert_allclose(weights[20, middle].numpy() / 2**22, taps / taps.sum(), atol=2**-22)
    assert torch.equal(weights, weights.flip(0).flip(1))
    np.testing.assert_allclose(weights.sum(dim=1).numpy(), 2**22, atol=6)


def test_a_pil_of_another_mind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanczos, "resize_frame", lambda frame, size: resize_frame(frame, size) ^ 1)
    lanczos._pil_order.cache_clear()
    assert not agrees_with_pil(31, 33, 20)
    with pytest.raises(ShapeError, match=r"\[31, 33\] are resized otherwise"):
        lanczos_resize(torch.zeros(1, 31, 33, 3, dtype=torch.uint8), 20)
    lanczos._pil_order.cache_clear()


@pytest.mark.parametrize("shape,dtype", [((4, 4, 3), torch.uint8), ((1, 4, 4, 4), torch.uint8), ((1, 4, 4, 3), None)])
def test_other_shapes_are_refused(shape: tuple[int, ...], dtype: torch.dtype | None) -> None:
    with pytest.raises(ShapeError, match=r"uint8 \[N, H, W, 3\]"):
        lanczos_resize(torch.zeros(shape, dtype=dtype), 8)

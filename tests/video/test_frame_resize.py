"""Decoding and resizing give the very pixels of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comix_fast.errors import ShapeError
from comix_fast.video import open_stream, resize_frame

# Where in each file the published clip of eight frames starts, found by comparing with every frame.
PUBLISHED_STARTS = {
    "set2/hug/36_17_1.avi": 43,
    "set1/hug/32_6_1.avi": 76,
    "set1/point/22_4_3.avi": 18,
    "set2/handshake/55_20_0.avi": 38,
}


@pytest.mark.shared
def test_published_frames_exactly(shared: Path) -> None:
    with np.load(shared / "golden" / "i3d_clips.npz", allow_pickle=False) as published:
        files, expected = published["files"], published["frames"]
    assert set(files) == set(PUBLISHED_STARTS)
    for file, clip in zip(files, expected, strict=True):
        with open_stream(shared / "data" / "ut_interaction" / str(file)) as stream:
            frames = list(stream)
        start = PUBLISHED_STARTS[str(file)]
        ours = np.stack([resize_frame(frame) for frame in frames[start : start + 8]])
        assert np.array_equal(ours, clip), file


def test_lanczos_and_not_another_filter(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    resized = resize_frame(frame, 24)
    assert resized.shape == (24, 24, 3)
    assert resized.dtype == np.uint8
    expected = Image.fromarray(frame).resize((24, 24), Image.Resampling.LANCZOS)
    assert np.array_equal(resized, np.asarray(expected))
    bicubic = Image.fromarray(frame).resize((24, 24), Image.Resampling.BICUBIC)
    assert not np.array_equal(resized, np.asarray(bicubic))


def test_the_aspect_is_not_kept() -> None:
    frame = np.zeros((20, 40, 3), np.uint8)
    frame[:, 20:] = 255
    resized = resize_frame(frame, 20)
    assert resized[:, :8].max() < 32
    assert resized[:, 12:].min() > 223


def test_frames_of_the_right_size_pass_unchanged(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(resize_frame(frame, 16), frame)


@pytest.mark.parametrize("shape,dtype", [((4, 4), np.uint8), ((4, 4, 4), np.uint8), ((4, 4, 3), np.float32)])
def test_other_shapes_are_refused(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(ShapeError, match=r"uint8 \[H, W, 3\]"):
        resize_frame(np.zeros(shape, dtype))

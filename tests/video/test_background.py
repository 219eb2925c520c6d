"""Temporal medians: published, naive and streamed agree to the byte; mixing is what it says."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comix_fast.errors import ShapeError, VideoError
from comix_fast.video import (
    background,
    median_background,
    mix_background,
    resize_frame,
    temporal_median,
)


def two_ways(frames: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The streamed background and the resized median of all frames."""
    size = frames.shape[1]
    found, n_frames = median_background(lambda: frames, size)
    assert n_frames == len(frames)
    return found, resize_frame(expected, size)


@pytest.mark.parametrize("which", ["even", "odd"])
def test_published_backgrounds(golden: Path, which: str) -> None:
    with np.load(golden / "background.npz", allow_pickle=False) as published:
        frames, expected = published[f"frames_{which}"], published[f"background_{which}"]
    assert np.array_equal(temporal_median(frames), expected)
    assert np.array_equal(*two_ways(frames, expected))


@given(n_frames=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), top=st.sampled_from([2, 4, 256]))
@settings(max_examples=60, deadline=None)
def test_against_numpy(n_frames: int, seed: int, top: int) -> None:
    frames = np.random.default_rng(seed).integers(0, top, (n_frames, 3, 5, 3), dtype=np.uint8)
    assert np.array_equal(temporal_median(frames), np.median(frames, axis=0).astype(np.uint8))


@pytest.mark.parametrize("n_frames", [255, 256, 300])
def test_many_equal_frames(n_frames: int) -> None:
    """Counts of as many as all frames must not wrap."""
    frames = np.full((n_frames, 2, 2, 3), 200, np.uint8)
    assert temporal_median(frames).tolist() == [[[200] * 3] * 2] * 2
    frames[: n_frames // 2 + 1] = 3
    assert temporal_median(frames).tolist() == [[[3] * 3] * 2] * 2


def test_the_midpoint_is_truncated_and_does_not_overflow() -> None:
    frames = np.array([254, 255, 0, 255], np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert temporal_median(frames).tolist() == [[[254, 254, 254]]]
    assert temporal_median(frames[:2]).tolist() == [[[254, 254, 254]]]


@pytest.mark.parametrize("n_frames", [254, 255, 256, 509, 510, 511, 512, 700])
@pytest.mark.parametrize("top", [2, 17, 256])
def test_held_and_counted_frames_agree(rng: np.random.Generator, n_frames: int, top: int) -> None:
    frames = rng.integers(0, top, (n_frames, 5, 5, 3), dtype=np.uint8)
    frames[:, 0] = 255 - frames[:, 0]
    assert np.array_equal(*two_ways(frames, np.median(frames, axis=0).astype(np.uint8)))


@given(n_frames=st.integers(3, 30), seed=st.integers(0, 2**32 - 1), values=st.lists(st.integers(0, 255), min_size=2))
@settings(max_examples=60, deadline=None)
def test_counting_by_bins_against_numpy(n_frames: int, seed: int, values: list[int]) -> None:
    """Few values, far apart or side by side: the two middle ones may be in one bin of sixteen or in two."""
    frames = np.random.default_rng(seed).choice(np.array(values, np.uint8), (n_frames, 6, 6, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "HELD_FRAMES", 2)
        assert np.array_equal(*two_ways(frames, np.median(frames, axis=0).astype(np.uint8)))


def test_more_frames_than_uint16_counts() -> None:
    # 70,000 sevens would wrap to 4,464 in 16 bits and lose to 10,000 nines.
    frames = np.repeat(np.array([7, 9], np.uint8), [70_000, 10_000])[:, None, None, None].repeat(3, axis=3)
    assert median_background(lambda: frames, size=1)[0].tolist() == [[[7, 7, 7]]]


def test_short_videos_are_read_once_and_long_ones_twice() -> None:
    n_read = 0

    def read(n_frames: int) -> np.ndarray:
        nonlocal n_read
        n_read += 1
        return np.zeros((n_frames, 2, 2, 3), np.uint8)

    median_background(lambda: read(255), size=2)
    assert n_read == 1
    median_background(lambda: read(256), size=2)
    assert n_read == 3


def test_a_video_that_changes_between_two_readings_is_an_error() -> None:
    lengths = iter((300, 299))
    with pytest.raises(VideoError, match="300 frames at the first reading and 299 at the second"):
        median_background(lambda: np.zeros((next(lengths), 2, 2, 3), np.uint8), size=2)


def test_memory_does_not_grow_with_the_video() -> None:
    def peak(n_frames: int) -> int:
        tracemalloc.start()
        median_background(lambda: (np.full((40, 40, 3), t % 256, np.uint8) for t in range(n_frames)), size=16)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(6000) < 1.1 * peak(600)


def test_very_large_frames_are_resized_first(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = rng.integers(0, 256, (9, 30, 40, 3), dtype=np.uint8)
    after, _ = median_background(lambda: frames, size=16)
    monkeypatch.setattr(background, "MAX_FRAME_BYTES", frames[0].size - 1)
    before, n_frames = median_background(lambda: frames, size=16)
    assert n_frames == 9
    assert np.array_equal(before, temporal_median(np.stack([resize_frame(frame, 16) for frame in frames])))
    assert np.array_equal(after, resize_frame(temporal_median(frames), 16))
    assert not np.array_equal(before, after)


def test_what_cannot_have_a_median() -> None:
    with pytest.raises(VideoError, match="no frames"):
        median_background(lambda: iter(()))
    with pytest.raises(ShapeError, match="T of 1 or more"):
        temporal_median(np.zeros((0, 4, 4, 3), np.uint8))
    with pytest.raises(ShapeError, match="uint8"):
        temporal_median(np.zeros((2, 4, 4, 3), np.float32))
    with pytest.raises(ShapeError, match="frame 1 is"):
        median_background(lambda: [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)])


def test_mixing_by_hand() -> None:
    clip = np.full((2, 1, 1, 3), 100, np.uint8)
    back = np.array([0, 100, 200], np.uint8).reshape(1, 1, 3)
    mixed = mix_background(clip, back, 0.25)
    assert mixed.dtype == np.float32
    assert mixed.tolist() == [[[[75.0, 100.0, 125.0]]]] * 2
    assert mix_background(clip[None], back, 0.0).tolist() == [[[[[100.0] * 3]]] * 2]


def test_mixing_a_batch_is_mixing_each(rng: np.random.Generator) -> None:
    clips = rng.integers(0, 256, (3, 2, 4, 4, 3), dtype=np.uint8)
    back = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    batch = mix_background(clips, back, 0.37)
    for clip, mixed in zip(clips, batch, strict=True):
        assert np.array_equal(mix_background(clip, back, 0.37), mixed)


def test_mixing_refuses() -> None:
    clip, back = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    for gamma in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="gamma"):
            mix_background(clip, back, gamma)
    with pytest.raises(ShapeError, match="background of"):
        mix_background(clip, back[:2], 0.1)

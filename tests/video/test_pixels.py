"""Clips to batches: the plain formula to the bit, on the CPU and by the way of a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comix_fast.video import mix_background, pixels, resize_frame
from comix_fast.video.pixels import Clip, DeviceResizer, DeviceScaler, HostResizer, HostScaler

CPU = torch.device("cpu")


def expected(clips: list[Clip[np.ndarray]]) -> torch.Tensor:
    """Each step on its own, as the cache's first version computed it."""
    mixed = []
    for clip in clips:
        stacked = np.stack(list(clip.frames))
        whole = stacked if clip.background is None else mix_background(stacked, clip.background, clip.gamma)
        mixed.append(torch.from_numpy(whole).float())
    return torch.stack(mixed).permute(0, 4, 1, 2, 3) * (2 / 255) - 1


@pytest.fixture
def clips(rng: np.random.Generator) -> list[Clip[np.ndarray]]:
    frames = list(rng.integers(0, 256, (11, 20, 20, 3), dtype=np.uint8))
    back = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return [Clip(frames[:8]), Clip(frames[3:], back, 0.3141592), Clip(frames[:8], back, 0.0), Clip(frames[1:9])]


def on_device(clips: list[Clip[np.ndarray]]) -> list[Clip[torch.Tensor]]:
    return [Clip([torch.from_numpy(f) for f in clip.frames], clip.background, clip.gamma) for clip in clips]


def test_both_ways_are_the_formula_to_the_bit(clips: list[Clip[np.ndarray]]) -> None:
    for chosen in (clips, clips[:1], clips[1:2]):
        batch = expected(chosen)
        assert torch.equal(HostScaler()(chosen), batch)
        assert torch.equal(DeviceScaler(CPU)(on_device(chosen)), batch)


def test_memory_is_used_again(clips: list[Clip[np.ndarray]]) -> None:
    scaler = HostScaler()
    first = scaler(clips)
    again = scaler(clips[::-1])
    assert first.data_ptr() == again.data_ptr()
    assert torch.equal(again, expected(clips[::-1]))
    assert torch.equal(scaler(clips[:3]), expected(clips[:3]))


@pytest.mark.parametrize("shape", [(30, 41), (41, 30), (24, 24)])
def test_resizing_on_a_device_is_pils(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    frames = rng.integers(0, 256, (37, *shape, 3), dtype=np.uint8)
    numbered = [(3 * number, frame) for number, frame in enumerate(frames)]
    ours = list(DeviceResizer(24, CPU)(iter(numbered)))
    theirs = list(HostResizer(24)(iter(numbered)))
    assert [number for number, _ in ours] == [number for number, _ in theirs]
    for (_, mine), (number, pils) in zip(ours, theirs, strict=True):
        assert np.array_equal(mine.numpy(), pils)
        assert np.array_equal(pils, resize_frame(frames[number // 3], 24))


def test_a_size_that_torch_gets_wrong_is_left_to_pil(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "agrees_with_pil", lambda *sizes: False)
    frame = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    ((_, mine),) = DeviceResizer(24, CPU)(iter([(0, frame)]))
    assert np.array_equal(mine.numpy(), resize_frame(frame, 24))


def test_frames_are_sent_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    n_read = 0

    def frames():  # type: ignore[no-untyped-def]
        nonlocal n_read
        for number in range(40):
            n_read += 1
            yield number, np.zeros((8, 8, 3), np.uint8)

    resized = DeviceResizer(8, CPU)(frames())
    next(resized)
    assert n_read == pixels.UPLOADED_FRAMES
    assert len(list(resized)) == 39

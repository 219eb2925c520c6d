"""Frames resized, mixed and scaled on a GPU: the CPU's bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comix_fast.video.pixels import Clip, DeviceResizer, DeviceScaler, HostResizer, HostScaler


@pytest.mark.parametrize(("shape", "size"), [((240, 320), 224), ((90, 71), 224), ((224, 224), 224), ((480, 100), 64)])
def test_resized_frames_are_pils(
    gpu: torch.device, rng: np.random.Generator, shape: tuple[int, int], size: int
) -> None:
    numbered = [(3 * number, frame) for number, frame in enumerate(rng.integers(0, 256, (19, *shape, 3), np.uint8))]
    ours, theirs = list(DeviceResizer(size, gpu)(iter(numbered))), list(HostResizer(size)(iter(numbered)))
    assert [number for number, _ in ours] == [number for number, _ in theirs]
    for (_, mine), (_, pils) in zip(ours, theirs, strict=True):
        assert mine.device.type == "cuda"
        assert np.array_equal(mine.cpu().numpy(), pils)


def test_batches_are_those_of_the_cpu(gpu: torch.device, rng: np.random.Generator) -> None:
    frames = list(rng.integers(0, 256, (11, 20, 20, 3), np.uint8))
    back = rng.integers(0, 256, (20, 20, 3), np.uint8)
    clips = [Clip(frames[:8]), Clip(frames[3:], back, 0.3141592), Clip(frames[:8], back, 0.0), Clip(frames[1:9])]
    there = [Clip([torch.from_numpy(f).to(gpu) for f in clip.frames], clip.background, clip.gamma) for clip in clips]
    for some in (slice(0, 4), slice(0, 1), slice(1, 2)):
        batch = DeviceScaler(gpu)(there[some])
        assert batch.device.type == "cuda"
        assert torch.equal(batch.cpu(), HostScaler()(clips[some]))

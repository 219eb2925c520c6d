"""From frames to what a backbone takes: resized, mixed, scaled; on the CPU, or on the device that computes.

Both ways give the same bytes: PIL's Lanczos, then (1 − γ) · clip + γ · background and a scaling to [-1, 1], each
operation rounded to float32 by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from comix_fast.video.lanczos import agrees_with_pil, lanczos_resize
from comix_fast.video.resize import Frame, resize_frame

Small = TypeVar("Small")
Floats = npt.NDArray[np.float32]

UPLOADED_FRAMES = 16
"""Frames sent to a device at a time: enough to spread the cost of a call, few enough to hold."""

TO_UNIT = 2 / 255
"""uint8 · TO_UNIT − 1 is in [-1, 1]."""


@dataclass(frozen=True)
class Clip(Generic[Small]):
    """Resized frames uint8 [size, size, 3], and the background uint8 [size, size, 3] that is mixed in at gamma."""

    frames: Sequence[Small]
    background: Frame | None = None
    gamma: float = 0.0


class HostResizer:
    """Frames resized by PIL, one by one."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, numbered: Iterator[tuple[int, Frame]]) -> Iterator[tuple[int, Frame]]:
        """Numbered frames uint8 [H, W, 3] to numbered frames uint8 [size, size, 3]."""
        return ((number, resize_frame(frame, self._size)) for number, frame in numbered)


class HostScaler:
    """Clips to one batch, in memory that is used again for the next: one per thread."""

    def __init__(self) -> None:
        self._pixels: Floats = np.empty(0, np.float32)

    def __call__(self, clips: Sequence[Clip[Frame]]) -> Tensor:
        """Float32 [B, 3, T, size, size] in [-1, 1], valid until the next call. Clips are all of one length."""
        shape = (len(clips), len(clips[0].frames), *clips[0].frames[0].shape)
        if self._pixels.shape != shape:
            self._pixels = np.empty(shape, np.float32)
        for number, clip in enumerate(clips):
            _scale(clip, self._pixels[number])
        return torch.from_numpy(self._pixels).permute(0, 4, 1, 2, 3)


def _scale(clip: Clip[Frame], pixels: Floats) -> None:
    """Frame by frame and in place, so that what is touched stays in the processor's cache."""
    kept, share = np.float32(1) - np.float32(clip.gamma), np.float32(clip.gamma)
    behind = None if clip.background is None else share * clip.background.astype(np.float32)
    for number, frame in enumerate(clip.frames):
        scaled = pixels[number]
        np.copyto(scaled, frame)
        if behind is not None:
            scaled *= kept
            scaled += behind
        scaled *= np.float32(TO_UNIT)
        scaled -= np.float32(1)


class DeviceResizer:
    """Frames sent as they are, UPLOADED_FRAMES at a time, and resized there; by PIL first where that differs."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._size, self._device = size, device

    def __call__(self, numbered: Iterator[tuple[int, Frame]]) -> Iterator[tuple[int, Tensor]]:
        """Numbered frames uint8 [H, W, 3] of one video to numbered tensors uint8 [size, size, 3] on the device."""
        while chunk := list(itertools.islice(numbered, UPLOADED_FRAMES)):
            numbers, frames = zip(*chunk, strict=True)
            rows, columns = frames[0].shape[:2]
            if not agrees_with_pil(rows, columns, self._size):
                frames = tuple(resize_frame(frame, self._size) for frame in frames)
            resized = lanczos_resize(_sent(np.stack(frames), self._device), self._size)
            yield from zip(numbers, resized, strict=True)


class DeviceScaler:
    """Clips of frames on a device to one batch there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, clips: Sequence[Clip[Tensor]]) -> Tensor:
        """Float32 [B, 3, T, size, size] in [-1, 1] on the device. Clips are all of one length."""
        frames = torch.stack([frame for clip in clips for frame in clip.frames])
        pixels = frames.view(len(clips), -1, *frames.shape[1:]).float()
        if any(clip.background is not None for clip in clips):
            self._mix(clips, pixels)
        return pixels.mul_(TO_UNIT).sub_(1).permute(0, 4, 1, 2, 3)

    def _mix(self, clips: Sequence[Clip[Tensor]], pixels: Tensor) -> None:
        """In place. A clip that is not mixed has γ = 0 and no background: ·1 and +0 change no byte of it."""
        nothing = np.zeros(pixels.shape[2:], np.uint8)
        behind = np.stack([nothing if clip.background is None else clip.background for clip in clips])
        gammas = np.array([0.0 if clip.background is None else clip.gamma for clip in clips], np.float32)
        share = _sent(gammas, self._device).view(-1, 1, 1, 1)
        kept = _sent(np.float32(1) - gammas, self._device).view(-1, 1, 1, 1, 1)
        pixels.mul_(kept).add_((_sent(behind, self._device).float() * share)[:, None])


def _sent(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """A tensor on the device; the copy to CUDA runs beside other work, from memory that is pinned for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

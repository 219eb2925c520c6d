"""Tiny videos, written on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

Write = Callable[..., Path]


def numbered_noise(n_frames: int, width: int = 48, height: int = 32) -> np.ndarray:
    """uint8 [T, H, W, 3]: noise that an encoder must spend bytes on, and a block that counts the frames."""
    frames = np.random.default_rng(0).integers(0, 64, (n_frames, height, width, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        frame[:16, :16] = number * 4 % 256
    return frames


@pytest.fixture
def pictures() -> Callable[..., np.ndarray]:
    return numbered_noise


@pytest.fixture
def write_video(tmp_path: Path) -> Write:
    """Write frames to tmp_path/name with an encoder of PyAV's wheel; skips where the wheel lacks it."""

    def write(
        name: str,
        encoder: str = "mpeg4",
        frames: np.ndarray | None = None,
        *,
        rate: int = 25,
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        rotation: int = 0,
    ) -> Path:
        if encoder not in av.codecs_available:
            pytest.skip(f"this build of PyAV has no {encoder}")
        frames = numbered_noise(60) if frames is None else frames
        path = tmp_path / name
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream = container.add_stream(encoder, rate=rate)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
            stream.options = options or {}
            if rotation and not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV cannot write a rotation (18 can)")
            if rotation:
                stream.set_display_rotation(rotation)
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write

"""The videos that faults are tried on: small, of many lengths, one of them broken."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

LENGTHS = (40, 9, 76, 20, 5)
SIZE = (36, 48)


def film(path: Path, n_frames: int, seed: int) -> Path:
    """A square that moves over a dim ground."""
    ground = np.random.default_rng(seed).integers(0, 120, (*SIZE, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(n_frames):
            picture = ground.copy()
            row, column = number * (seed + 1) % (SIZE[0] - 10), number * 2 % (SIZE[1] - 10)
            picture[row : row + 10, column : column + 10] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def draw_all(root: Path) -> Path:
    """Three folders of two classes: a, b and c; a has a file that is no video."""
    for number, domain in enumerate("abc"):
        for place, n_frames in enumerate(LENGTHS):
            film(root / domain / ("go", "stop")[place % 2] / f"{place}.mp4", n_frames, 10 * number + place)
    (root / "a/stop/broken.mp4").write_text("this is no video")
    return root

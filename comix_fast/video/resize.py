"""Frames to the size the backbone takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from comix_fast.errors import ShapeError

Frame = npt.NDArray[np.uint8]

FRAME_SIZE = 224


def resize_frame(frame: Frame, size: int = FRAME_SIZE) -> Frame:
    """Resize one RGB frame to size × size by PIL's Lanczos; nothing is cropped, the aspect is not kept.

    frame: uint8 [H, W, 3]. Returns uint8 [size, size, 3], the frame itself where it has that size already.
    Raises ShapeError for anything else.
    """
    check_frame(frame)
    if frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS))


def check_frame(frame: Frame) -> None:
    """Raise ShapeError unless the frame is uint8 [H, W, 3]."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ShapeError(f"a frame is uint8 [H, W, 3]; got {frame.dtype} {list(frame.shape)}")

"""Types and readings that the tests of pictures share."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from comix_fast.cache import FeatureCache
from comix_fast.pictures.stills import PREVIEW_MS

WriteGrey = Callable[..., Path]
Filmed = Callable[..., FeatureCache]


def levels(encoded: bytes) -> list[float]:
    """The mean grey level of each frame of a WebP."""
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.format == "WEBP"
        return [float(np.asarray(frame.convert("RGB")).mean()) for frame in ImageSequence.Iterator(picture)]


def shown_at(encoded: bytes, milliseconds: int = PREVIEW_MS) -> list[float]:
    """The mean grey level at each step of a loop: the format makes one frame, that lasts longer, of two much alike."""
    found: list[float] = []
    with Image.open(io.BytesIO(encoded)) as picture:
        for frame in ImageSequence.Iterator(picture):
            level = float(np.asarray(frame.convert("RGB")).mean())
            found += [level] * round(picture.info["duration"] / milliseconds)
    return found

"""How near two computations of the same features are: the same bytes, the same up to rounding, or others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache.format import VideoRow

Verdict = Literal["identical", "rounding", "different"]

BACKGROUND_LEVELS = 4
"""Levels of 255 by which a background may differ where another version decodes: codecs' last bits, not pictures."""


@dataclass(frozen=True)
class Bounds:
    """What passes for rounding. cosine: of each clip's features, at least. share: of a clip's largest number, the
    most by which one of its numbers may differ."""

    cosine: float
    share: float


SAME_ARITHMETIC = Bounds(0.99999, 0.004)
"""fp32 on either side: a float16 keeps eleven bits, and sums are rounded in another order."""
OTHER_ARITHMETIC = Bounds(0.999, 0.1)
"""bf16, or pixels of another decoder: as far as precision.MIN_COSINE lets bf16 be from fp32."""


@dataclass(frozen=True)
class Match:
    """How near one view, or the background, came. largest: difference of two numbers; cosine: the smallest, of a
    clip's features."""

    what: str
    verdict: Verdict
    largest: float = 0.0
    cosine: float = 1.0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        largest = self.largest if math.isfinite(self.largest) else None
        return {**vars(self), "largest": largest}


def match_features(what: str, cached: NDArray[np.float16], again: NDArray[np.float16], bounds: Bounds) -> Match:
    """Two computations of one view, [n, D] float16 each."""
    if cached.shape != again.shape:
        shapes = f"{list(cached.shape)} in the cache, {list(again.shape)} now"
        return Match(what, "different", np.inf, -1.0, shapes)
    if cached.tobytes() == again.tobytes():
        return Match(what, "identical")
    ours, theirs = cached.astype(np.float64), again.astype(np.float64)
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return Match(what, "different", np.inf, -1.0, "features that are not finite")
    gaps = np.abs(ours - theirs).max(axis=1)
    sizes = np.maximum(np.abs(ours).max(axis=1), np.abs(theirs).max(axis=1))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    products = (ours * theirs).sum(axis=1)
    # Two clips without any feature are the same; one without has no direction.
    cosines = np.divide(products, lengths, out=np.where(gaps == 0, 1.0, 0.0), where=lengths > 0)
    near = (cosines >= bounds.cosine) & (gaps <= bounds.share * sizes)
    reason = "" if near.all() else f"{int((~near).sum()):,} of {len(near):,} clips differ"
    verdict: Verdict = "rounding" if near.all() else "different"
    return Match(what, verdict, float(gaps.max()), float(min(cosines.min(), 1.0)), reason)


def match_backgrounds(cached: NDArray[np.uint8], again: NDArray[np.uint8], same_decoder: bool) -> Match:
    """Two computations of a background, [size, size, 3] uint8 each."""
    if cached.shape != again.shape:
        shapes = f"{list(cached.shape)} in the cache, {list(again.shape)} now"
        return Match("background", "different", 255.0, -1.0, shapes)
    largest = int(np.abs(cached.astype(np.int16) - again.astype(np.int16)).max(initial=0))
    if not largest:
        return Match("background", "identical")
    near = not same_decoder and largest <= BACKGROUND_LEVELS
    return Match("background", "rounding" if near else "different", float(largest), reason=f"{largest} levels of 255")


def match_files(cached: VideoRow, row: VideoRow) -> Match:
    """What a cache knows of a video's file, and what is found of it now."""
    differ = []
    if cached.sha256 != row.sha256:
        differ.append("another file: its sha256 is not that of the one extracted")
    if cached.n_frames != row.n_frames:
        differ.append(f"{cached.n_frames:,} frames then, {row.n_frames:,} now")
    if cached.fps != row.fps and not (math.isnan(cached.fps) and math.isnan(row.fps)):
        differ.append(f"{cached.fps:g} frames a second then, {row.fps:g} now")
    if cached.n_bytes != row.n_bytes:
        differ.append(f"{cached.n_bytes:,} bytes then, {row.n_bytes:,} now")
    return Match("file", "different" if differ else "identical", reason=", ".join(differ))

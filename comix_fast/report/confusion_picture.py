"""A confusion as a picture, for where only pixels can be shown."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray
from PIL import Image

from comix_fast.printable import printable
from comix_fast.stages.confusions import Confusion

MOST_COUNTED, MOST_NAMED = 30, 60
"""Up to so many classes cells have their counts, and rows and columns their names."""
_LONGEST_NAME = 20
_FAMILY = "DejaVu Sans"  # comes with matplotlib


def confusion_picture(found: Confusion) -> NDArray[np.uint8]:
    """[H, W, 3] uint8. Rows are the true classes; the darker a cell, the larger its share of its row."""
    counts = np.array(found.counts)
    n_classes = len(counts)
    side = 2.5 + min(0.45 * n_classes, 12.0)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    seeds = f", {found.n_seeds:,} seeds" if found.n_seeds > 1 else ""
    axes.set_title(f"{found.head}{seeds}: {counts.trace():,} of {counts.sum():,} right", family=_FAMILY)
    axes.set_xlabel("predicted", family=_FAMILY)
    axes.set_ylabel("true", family=_FAMILY)
    if n_classes <= MOST_NAMED:
        names = [_drawable(f"{number} {name}") for number, name in enumerate(found.classes, 1)]
        # Names are no formulas, whatever dollars they have.
        axes.set_xticks(range(n_classes), names, rotation=90, fontsize=8, family=_FAMILY, parse_math=False)
        axes.set_yticks(range(n_classes), names, fontsize=8, family=_FAMILY, parse_math=False)
    if n_classes <= MOST_COUNTED:
        for true, taken in np.argwhere(counts):
            ink = "white" if shares[true, taken] > 0.5 else "black"
            text = f"{counts[true, taken]:,}"
            axes.text(taken, true, text, ha="center", va="center", fontsize=8, color=ink, family=_FAMILY)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    with Image.open(written) as picture:
        return np.asarray(picture.convert("RGB"))


def _drawable(name: str) -> str:
    """With question marks for what the font has no signs for: the number before the name still says which it is."""
    known = get_font(findfont(FontProperties(family=_FAMILY))).get_charmap()
    return "".join(sign if ord(sign) in known else "?" for sign in printable(name, _LONGEST_NAME))

"""Curves of one line of text: a block for every value, or every few."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = ".:-=+*%@"
"""For terminals that have no blocks: the more ink, the higher."""


def marks_for(encoding: str) -> str:
    """The marks, lowest first, that an encoding has."""
    return BLOCKS if encodes(BLOCKS, encoding) else PLAIN


def encodes(text: str, encoding: str) -> bool:
    """Whether a text can be written in an encoding; one that is not known can't write it."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(
    values: Sequence[float], width: int, low: float | None = None, high: float | None = None, marks: str = BLOCKS
) -> str:
    """One mark for every value, or `width` marks, each of the mean of as many neighbouring values.

    values: finite; low, high: what the lowest and the highest mark stand for, by default the extremes of the values.
    Where these are equal every mark is the middle one: what does not change is neither low nor high.
    """
    if not values or width < 1:
        return ""
    low, high = min(values) if low is None else low, max(values) if high is None else high
    n_marks = min(width, len(values))
    bounds = [number * len(values) // n_marks for number in range(n_marks + 1)]
    shown = [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    return "".join(marks[_height(value, low, high, len(marks))] for value in shown)


def _height(value: float, low: float, high: float, n_heights: int) -> int:
    if high <= low:
        return (n_heights - 1) // 2
    share = (min(max(value, low), high) - low) / (high - low)
    return min(int(share * n_heights), n_heights - 1)

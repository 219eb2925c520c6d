"""What every benchmark returns, and how two ways of doing one thing are timed against each other."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """One line of `make bench`.

    ours, plain: the two figures, in `unit`. ratio: how they compare, see `target`. target: the bound on the ratio.
    at_least: whether the ratio must reach the target (a gain) or stay below it (an overhead). note: conditions.
    """

    name: str
    ours: float
    plain: float
    unit: str
    ratio: float
    target: float
    at_least: bool = True
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def paired(
    ours: Callable[[], object], plain: Callable[[], object], rounds: int = 5, warmup: int = 1
) -> tuple[float, float, float]:
    """Median seconds of both, and the median over rounds of plain / ours.

    The two take turns, so that a machine whose speed drifts slows both alike.
    """
    for _ in range(warmup):
        ours()
        plain()
    gc.collect()
    pairs = [(seconds(ours), seconds(plain)) for _ in range(rounds)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(b / a for a, b in pairs),
    )

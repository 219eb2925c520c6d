"""A clock that jumps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

YEAR = 365.25 * 86_400


def jump(seed: int) -> None:
    """From now on every look at a clock of this process may find it years before or after the last."""
    chance = random.Random(seed)
    ahead = chance.uniform(-30, 70) * YEAR

    def jumping(clock: Callable[[], float], unit: float) -> Callable[[], float]:
        def look() -> float:
            nonlocal ahead
            if chance.random() < 0.3:
                ahead = chance.uniform(-30, 70) * YEAR
            return type(clock())(max(0.0, clock() + ahead * unit))

        return look

    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, jumping(getattr(time, name), 1))
        setattr(time, f"{name}_ns", jumping(getattr(time, f"{name}_ns"), 1e9))

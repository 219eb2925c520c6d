"""One number over several seeds: its mean, its spread and a 95 % interval for the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from comix_fast.errors import ComixError, first_few

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """The mean of n values and how far to trust it.

    mean: in the unit of the values (accuracies: a share in [0, 1]).
    std: sample standard deviation, divisor n − 1; None when n is 1.
    half_width: half the two-sided 95 % t-interval of the mean, so the interval is mean ± half_width;
        None when n is 1: one seed says nothing about spread.
    n: how many values, at least 1.
    """

    mean: float
    std: float | None
    half_width: float | None
    n: int

    def text(self, percent: bool = True) -> str:
        """Reads "64.8 ± 2.1", or "64.8" when n is 1.

        percent: times 100 with one decimal (a share of 0.648 reads 64.8); else as it is, three decimals.
        """
        scale, decimals = (100.0, 1) if percent else (1.0, 3)
        mean = f"{self.mean * scale:.{decimals}f}"
        if self.half_width is None:
            return mean
        return f"{mean} ± {self.half_width * scale:.{decimals}f}"

    def to_json(self) -> dict[str, float | int | None]:
        """The four fields by name, ready for json.dump."""
        return {"mean": self.mean, "std": self.std, "half_width": self.half_width, "n": self.n}


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and 95 % t-interval of the mean over seeds.

    values: one finite number per seed, in any order, in one unit.
    The interval is mean ± t · std / √n with t the 0.975 quantile of Student's t at n − 1 degrees of
    freedom (Student 1908). It covers the seeds' spread alone: the test set is the same for every seed, so the
    error from its size is not in it.
    Raises ComixError when there is no value, or one that is not finite.
    """
    numbers = [float(value) for value in values]
    if not numbers:
        raise ComixError("no values to summarise", hint="give one number per seed, at least one")
    broken = [f"value {place} = {number}" for place, number in enumerate(numbers) if not math.isfinite(number)]
    if broken:
        raise ComixError(f"{len(broken):,} of {len(numbers):,} values are not finite", [first_few(broken)])
    n = len(numbers)
    mean = math.fsum(numbers) / n
    if n == 1:
        return Summary(mean, None, None, 1)
    std = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1))
    return Summary(mean, std, _t_quantile(n - 1) * std / math.sqrt(n), n)


def _t_quantile(degrees: int) -> float:
    # scipy.special, imported only when an interval is asked for: scipy.stats would take seconds.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + LEVEL / 2))

"""Means and t-intervals over seeds, against numbers worked by hand and scipy.stats."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comix_fast.errors import ComixError
from comix_fast.intervals import Summary, summarise

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


def test_two_seeds_by_hand() -> None:
    # mean 0.7, std √(2 · 0.1² / 1) = 0.1414, t(1, 0.975) = 12.706, half width 12.706 · 0.1414 / √2 = 1.2706
    summary = summarise([0.6, 0.8])
    assert summary.mean == pytest.approx(0.7)
    assert summary.std == pytest.approx(0.141421, abs=1e-6)
    assert summary.half_width == pytest.approx(1.27062, abs=1e-5)
    assert summary.n == 2
    assert summary.text() == "70.0 ± 127.1"


def test_ten_seeds_by_hand() -> None:
    # 1 … 10: mean 5.5, variance 82.5 / 9, t(9, 0.975) = 2.262157
    summary = summarise([float(value) for value in range(1, 11)])
    assert summary.mean == 5.5
    assert summary.std == pytest.approx(math.sqrt(82.5 / 9))
    assert summary.half_width == pytest.approx(2.262157 * math.sqrt(82.5 / 9) / math.sqrt(10), abs=1e-6)
    assert summary.text(percent=False) == "5.500 ± 2.166"


def test_one_seed_has_no_interval() -> None:
    assert summarise([0.648]) == Summary(0.648, None, None, 1)
    assert summarise([0.648]).text() == "64.8"
    assert summarise([0.648]).text(percent=False) == "0.648"


def test_equal_seeds_have_an_interval_of_nothing() -> None:
    assert summarise([0.5, 0.5, 0.5]) == Summary(0.5, 0.0, 0.0, 3)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_nothing_and_non_finite_are_refused(values: list[float]) -> None:
    with pytest.raises(ComixError):
        summarise(values)


def test_a_broken_seed_is_named() -> None:
    with pytest.raises(ComixError, match=r"1 of 3 values are not finite\n  value 1 = nan"):
        summarise([0.1, math.nan, 0.3])


@given(VALUES)
def test_agrees_with_scipy_stats_and_statistics(values: list[float]) -> None:
    summary = summarise(values)
    std = statistics.stdev(values)
    low, high = (
        stats.t.interval(0.95, len(values) - 1, statistics.mean(values), std / math.sqrt(len(values)))
        if std > 0
        else (values[0], values[0])
    )
    assert summary.std is not None and summary.half_width is not None
    assert summary.std == pytest.approx(std, rel=1e-6, abs=1e-9)
    assert summary.mean - summary.half_width == pytest.approx(low, rel=1e-6, abs=1e-6)
    assert summary.mean + summary.half_width == pytest.approx(high, rel=1e-6, abs=1e-6)


@given(VALUES, st.randoms())
def test_order_of_seeds_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert summarise(shuffled) == summarise(values)


def test_to_json_can_be_written_and_read() -> None:
    summary = summarise([0.1, 0.2, 0.4])
    assert Summary(**json.loads(json.dumps(summary.to_json()))) == summary


def test_importing_it_loads_neither_scipy_nor_torch() -> None:
    code = "import sys, comix_fast.intervals; print(sorted({'scipy', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

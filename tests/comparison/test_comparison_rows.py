"""The rows behind every table, and comparisons that do not fit together."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from small_comparisons import BOUND, LABELS, NEAREST, OURS, SOURCE_ONLY, cell, comparison, four, method, same

from comix_fast import tables
from comix_fast.comparison import CHOICE_TITLES, Cell, MethodResult, Row, rows, tabulate
from comix_fast.errors import ComixError, ShapeError
from comix_fast.stages.results import CHOICES


def named(found: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in found}


def mean(row: Row, choice: str) -> float | None:
    accuracy = row.accuracies[choice]
    return None if accuracy is None else accuracy.over_seeds.mean


def test_means_and_intervals_by_hand() -> None:
    found = named(rows(four()))
    assert list(found) == ["source-only", "nearest", "ours", "bound"]
    source = found["source-only"].accuracies["selected"]
    assert source is not None and source.over_seeds.half_width is not None
    # 0.5 and 0.75: std 0.25 / √2, t(1, 0.975) = 12.706, half width 12.706 · 0.125 = 1.588
    assert source.over_seeds.mean == 0.625
    assert source.over_seeds.half_width == pytest.approx(12.7062 * 0.25 / math.sqrt(2) / math.sqrt(2), abs=1e-4)
    assert 0 < source.low < 0.625 < source.high <= 1
    assert [mean(found["ours"], choice) for choice in CHOICE_TITLES] == [0.5, 0.875, 0.5]
    gain = found["ours"].gain
    assert gain is not None and gain.points == 25.0


def test_gain_and_rank_go_by_the_choice_asked_for() -> None:
    found = named(rows(four(), choice="last"))
    gain = found["ours"].gain
    assert gain is not None and gain.points == -12.5
    better, worse = found["source-only"].rank, found["ours"].rank
    assert better is not None and worse is not None and better < worse
    with pytest.raises(ComixError, match="no choice of a step is called 'chosen'"):
        rows(four(), choice="chosen")


def test_one_model_stands_under_every_choice() -> None:
    found = named(rows(four()))
    assert [mean(found["nearest"], choice) for choice in CHOICE_TITLES] == [0.5] * 3
    accuracy = found["nearest"].accuracies["last"]
    assert accuracy is not None and accuracy.over_seeds.half_width is None
    assert 0 <= accuracy.low < 0.5 < accuracy.high <= 1
    assert (found["nearest"].n_seeds, found["nearest"].given_up) == (0, 0)


def test_a_choice_never_made_is_unknown() -> None:
    partly = MethodResult("partly", {0: {"last": cell([1, 1, 1, 1]), "selected": cell([1, 1, 1, 1])}})
    row = rows(comparison({"partly": partly}, seeds=(0,)))[0]
    assert [mean(row, choice) for choice in CHOICE_TITLES] == [1.0, 1.0, None]


def test_a_bound_has_no_rank_and_pushes_no_one_down() -> None:
    without = {"source-only": SOURCE_ONLY, "nearest": NEAREST, "ours": OURS}
    found, bare = named(rows(four())), named(rows(comparison(without)))
    assert found["bound"].rank is None
    gain = found["bound"].gain
    assert gain is not None and gain.points == 37.5
    assert {name: found[name].rank for name in without} == {name: bare[name].rank for name in without}
    assert sum(row.rank or 0 for row in found.values()) == pytest.approx(1 + 2 + 3)


def test_one_seed_has_no_interval_over_seeds() -> None:
    one = {name: method(name, {1: same(marks)}) for name, marks in (("source-only", [1, 0, 0, 1]), ("b", [1, 1, 0, 1]))}
    table = tabulate(comparison(one, seeds=(1,)))
    assert "one seed, so no interval over seeds" in table.title
    for row in table.rows:
        accuracy = row.accuracies["selected"]
        assert accuracy is not None and accuracy.over_seeds.half_width is None and accuracy.low < accuracy.high
    assert table.rows[1].gain is not None and table.rows[1].gain.points == 25.0


def test_seeds_given_up_are_counted() -> None:
    half = method("half", {1: same([1, 1, 1, 1])}, family="published")
    gone = method("gone", {}, family="published")
    table = tabulate(comparison({"source-only": SOURCE_ONLY, "half": half, "gone": gone}))
    found = named(list(table.rows))
    assert (found["half"].n_seeds, found["half"].given_up) == (1, 1)
    assert found["half"].gain is not None and found["half"].gain.points == 37.5
    assert (found["gone"].n_seeds, found["gone"].given_up, found["gone"].gain, found["gone"].rank) == (0, 2, None, None)
    assert set(found["gone"].accuracies.values()) == {None}
    assert "given up: half, 1 of 2 seeds" in table.notes
    assert "given up: gone, 2 of 2 seeds" in table.notes


def test_without_labels_nothing_is_claimed() -> None:
    blank = {"source-only": MethodResult("source-only", {0: {"last": Cell(())}, 1: {"last": Cell(())}})}
    table = tabulate(comparison(blank, labels=()))
    (row,) = table.rows
    assert set(row.accuracies.values()) == {None}
    assert (row.gain, row.rank, row.n_seeds) == (None, None, 2)
    assert table.title == "set1 → set2, 2 seeds: no target video carries a label, so there is no accuracy"
    assert table.notes == ()


def test_without_the_reference_there_are_no_gains() -> None:
    table = tabulate(comparison({"ours": OURS, "bound": BOUND}))
    assert [row.gain for row in table.rows] == [None, None]
    assert [row.rank for row in table.rows] == [1.0, None]
    assert table.columns[-2] == "gain"
    assert "no gain: source-only is not among the methods" in table.notes


def test_the_title_says_what_was_measured() -> None:
    assert tabulate(four(), n_draws=50).title == (
        "target accuracy in %, set1 → set2, 2 seeds, mean ± 95 % over seeds; "
        "4 videos, adapted on without their labels (transductive)"
    )
    held_out = comparison({"source-only": SOURCE_ONLY}, transductive=False)
    assert tabulate(held_out, n_draws=50).title.endswith("4 videos, held out (test list)")
    assert tabulate(four(), n_draws=50).notes == (
        "chosen without labels: infomax",
        "gain: percentage points by chosen without labels, [95 % of 50 bootstrap draws over videos and seeds, paired]",
        "rank: by chosen without labels, mean over the draws, 1 is best; a bound is not ranked",
        "without ±: no seed changes the method",
    )


def test_choices_are_those_of_a_run() -> None:
    assert tuple(CHOICE_TITLES) == CHOICES
    assert CHOICE_TITLES == tables._CHOICE_TITLES


FINE = Cell((0, 1, 0, 1))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (MethodResult("x", {0: {"last": Cell((0, 1, 0))}}), "x, seed 0, last: 3 classes predicted for 4 videos"),
        (MethodResult("x", {0: {"last": Cell((0, 1, 2, -1))}}), "2 of 4 classes lie outside 0 … 1\n  2, -1"),
        (MethodResult("x", {0: {"last": FINE}}, family="theirs"), "no family is called 'theirs'"),
        (MethodResult("x", {5: {"last": FINE}}), "seeds that were not asked for\n  5"),
        (MethodResult("x", {0: {"last": FINE}, 1: {"last": FINE}}, deterministic=True), "yet no seed changes it"),
        (MethodResult("x", {0: {"last": FINE}, 1: same([1] * 4)}), "do not hold the same choices"),
        (MethodResult("x", {0: {"selected": FINE}}), "no cell for its last step"),
        (MethodResult("x", {0: {"last": FINE, "best": FINE}}), "no choice of a step is called 'best'"),
    ],
)
def test_cells_that_do_not_fit_are_refused(broken: Any, message: str) -> None:
    with pytest.raises(ComixError) as caught:
        comparison({"x": broken})
    assert message in str(caught.value)
    assert isinstance(caught.value, ShapeError) == ("predicted for" in message)


def test_labels_and_seeds_are_checked() -> None:
    with pytest.raises(ComixError, match="the labels: 2 of 4 classes lie outside 0 … 0"):
        comparison({}, classes=("push",))
    with pytest.raises(ComixError, match="a seed is listed twice"):
        comparison({}, seeds=(1, 1))
    assert rows(comparison({})) == []
    assert len(LABELS) == len(FINE.predicted)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, comix_fast.comparison; print(sorted({'torch', 'rich', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

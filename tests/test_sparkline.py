"""Curves of one line: which mark stands for what, how many marks there are, what a terminal without blocks sees."""

from __future__ import annotations

import pytest

from comix_fast.sparkline import BLOCKS, PLAIN, encodes, marks_for, sparkline


def test_eight_steps_are_the_eight_blocks() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 0], 8) == "█▁"
    assert sparkline([-3.5, -3.0, -2.5], 3) == "▁▅█"


def test_many_values_are_means_of_neighbours() -> None:
    # Pairs: 0.5, 2.5, 4.5, 6.5 of 0 … 7; of seven, the first of three groups has two and so has the second.
    assert sparkline(range(8), 4) == "▁▃▆█"
    assert sparkline([0, 0, 9, 9, 0, 0, 0], 3, 0, 9) == "▁█▁"
    assert sparkline([0, 8], 1, 0, 8) == "▅"


def test_bounds_that_are_given_hold_for_all_curves() -> None:
    assert sparkline([0.25, 0.5], 2, 0, 1) == "▃▅"
    # What is outside them is drawn at their edge.
    assert sparkline([-1, 2], 2, 0, 1) == "▁█"


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0, 5.0]])
def test_what_does_not_change_is_in_the_middle(values: list[float]) -> None:
    assert sparkline(values, 9) == "▄" * len(values)


def test_nothing_is_drawn_of_nothing() -> None:
    assert sparkline([], 5) == ""
    assert sparkline([1, 2], 0) == ""


@pytest.mark.parametrize(
    ("encoding", "marks"),
    [("utf-8", BLOCKS), ("UTF8", BLOCKS), ("ascii", PLAIN), ("cp1252", PLAIN), ("no-such-code", PLAIN)],
)
def test_marks_are_those_that_the_terminal_has(encoding: str, marks: str) -> None:
    assert marks_for(encoding) == marks
    assert len(set(marks)) == 8
    assert encodes(PLAIN, "ascii")
    assert sparkline([0, 7], 2, marks=marks) == marks[0] + marks[-1]

"""The label-free score, by plain loops and at its ends."""

from __future__ import annotations

import math

import pytest
import torch

from comix_fast.selection import infomax


def by_loops(rows: list[list[float]]) -> float:
    probabilities = []
    for row in rows:
        powers = [math.exp(value) for value in row]
        probabilities.append([power / sum(powers) for power in powers])
    mean = [sum(column) / len(rows) for column in zip(*probabilities, strict=True)]
    entropy_of_mean = -sum(p * math.log(p) for p in mean)
    mean_entropy = -sum(p * math.log(p) for row in probabilities for p in row) / len(rows)
    return entropy_of_mean - mean_entropy


def test_by_plain_loops() -> None:
    rows = [[2.0, 0.0, -1.0], [0.5, 0.4, 0.3], [-3.0, 1.0, 1.0]]
    assert infomax(torch.tensor(rows)) == pytest.approx(by_loops(rows), abs=1e-6)


def test_sure_and_varied_scores_best_and_collapse_scores_nothing() -> None:
    sure = 50 * torch.eye(4)
    assert infomax(sure) == pytest.approx(math.log(4))
    assert infomax(sure[[0, 0, 0, 0]]) == pytest.approx(0, abs=1e-9)
    assert infomax(torch.zeros(4, 4)) == pytest.approx(0, abs=1e-9)

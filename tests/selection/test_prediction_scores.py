"""Entropy and nuclear norm by plain loops and at their ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from comix_fast.selection.prediction import infomax, negative_entropy, nuclear_norm

ROWS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.4, 0.3], [-3.0, 1.0, 1.0], [2.0, 0.0, -1.0]])
SURE = 60 * torch.eye(4)
COLLAPSED = SURE[[0, 0, 0, 0]]
UNIFORM = torch.zeros(4, 4)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def test_entropy_by_plain_loops() -> None:
    total = 0.0
    for row in ROWS.tolist():
        total += sum(p * math.log(p) for p in softmax(row))
    assert negative_entropy(ROWS) == pytest.approx(total / 4, abs=1e-12)


def test_entropy_is_best_when_sure_and_worst_when_uniform() -> None:
    assert negative_entropy(SURE) == pytest.approx(0, abs=1e-12)
    assert negative_entropy(UNIFORM) == pytest.approx(-math.log(4))
    assert negative_entropy(COLLAPSED) == negative_entropy(SURE), "it is blind to collapse, as its page says"


def test_nuclear_norm_from_the_roots_of_a_quadratic() -> None:
    """Of two columns: the squares of the singular values are the eigenvalues of a 2 x 2 matrix."""
    logits = ROWS[:, :2].double()
    rows = [softmax(row) for row in logits.tolist()]
    a = sum(row[0] * row[0] for row in rows)
    b = sum(row[0] * row[1] for row in rows)
    c = sum(row[1] * row[1] for row in rows)
    root = math.sqrt((a - c) ** 2 / 4 + b * b)
    expected = math.sqrt((a + c) / 2 + root) + math.sqrt((a + c) / 2 - root)
    assert nuclear_norm(logits) == pytest.approx(expected / 4, abs=1e-12)


def test_nuclear_norm_orders_varied_collapsed_uniform() -> None:
    assert nuclear_norm(SURE) == pytest.approx(1)
    assert nuclear_norm(COLLAPSED) == pytest.approx(1 / 2)
    assert nuclear_norm(UNIFORM) == pytest.approx(1 / 4)


@pytest.mark.parametrize("score", [negative_entropy, infomax, nuclear_norm])
def test_the_order_of_videos_does_not_matter(score: object) -> None:
    assert callable(score)
    turned: Tensor = ROWS[[2, 0, 3, 1]]
    assert score(turned) == pytest.approx(score(ROWS), abs=1e-12)


@pytest.mark.parametrize("score", [negative_entropy, infomax, nuclear_norm])
def test_float16_and_far_apart_logits_stay_numbers(score: object) -> None:
    assert callable(score)
    assert math.isfinite(score(torch.tensor([[6e4, -6e4], [0.0, 6e4]], dtype=torch.float16)))

"""Transfer Score: its three terms by plain loops, and at their ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from comix_fast.selection import transfer
from comix_fast.selection.evidence import generator
from comix_fast.selection.prediction import infomax
from comix_fast.selection.transfer import classifier_bias, hopkins, transfer_score

DRAWS = torch.Generator().manual_seed(5)
LOGITS, FEATURES = torch.randn(9, 3, generator=DRAWS), torch.randn(9, 4, generator=DRAWS)
CLASSIFIER = torch.randn(3, 4, generator=DRAWS)


def bias_by_loops(weights: list[list[float]]) -> float:
    classes = len(weights)
    ideal = math.acos(-1 / (classes - 1))
    total = 0.0
    for i in range(classes):
        for j in range(classes):
            if i != j:
                product = sum(a * b for a, b in zip(weights[i], weights[j], strict=True))
                angle = math.acos(product / math.hypot(*weights[i]) / math.hypot(*weights[j]))
                total += (angle - ideal) ** 2
    return total / (classes * (classes - 1))


def hopkins_by_loops(rows: list[list[float]], drawn: list[list[float]]) -> float:
    low, high = [min(column) for column in zip(*rows, strict=True)], [max(column) for column in zip(*rows, strict=True)]
    u = w = 0.0
    for i, row in enumerate(rows):
        w += min(math.dist(row, other) for j, other in enumerate(rows) if j != i)
        point = [a + share * (b - a) for a, b, share in zip(low, high, drawn[i], strict=True)]
        u += min(math.dist(point, other) for other in rows)
    return u / (u + w)


def test_terms_by_plain_loops() -> None:
    drawn = torch.rand(9, 4, generator=generator(), dtype=torch.float64).tolist()
    bias = bias_by_loops(CLASSIFIER.double().tolist())
    clusters = hopkins_by_loops(FEATURES.double().tolist(), drawn)
    assert classifier_bias(CLASSIFIER) == pytest.approx(bias, abs=1e-12)
    assert hopkins(FEATURES) == pytest.approx(clusters, abs=1e-12)
    expected = -bias + clusters + infomax(LOGITS) / math.log(3)
    assert transfer_score(LOGITS, FEATURES, CLASSIFIER) == pytest.approx(expected, abs=1e-12)


def test_an_even_classifier_has_no_bias() -> None:
    third = 2 * math.pi / 3
    even = torch.tensor([[math.cos(k * third), math.sin(k * third)] for k in range(3)], dtype=torch.float64)
    assert classifier_bias(even) == pytest.approx(0, abs=1e-12)
    assert classifier_bias(7 * even) == pytest.approx(0, abs=1e-12), "angles alone count"
    assert classifier_bias(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(0, abs=1e-12)
    assert classifier_bias(torch.eye(2)) == pytest.approx((math.pi / 2) ** 2)
    assert classifier_bias(torch.ones(3, 2)) == pytest.approx((2 * math.pi / 3) ** 2)
    assert math.isfinite(classifier_bias(torch.zeros(3, 2)))


def test_hopkins_orders_clusters_chance_and_one_point() -> None:
    draws = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    tight = centres.repeat(20, 1) + 0.01 * torch.randn(60, 2, generator=draws)
    even = torch.rand(60, 2, generator=draws)
    assert hopkins(tight) > 0.95
    assert hopkins(even) == pytest.approx(0.5, abs=0.12)
    assert hopkins(centres.repeat(20, 1)) == 1
    assert hopkins(torch.ones(60, 2)) == 0


def test_sure_varied_and_even_scores_above_uniform_and_collapsed() -> None:
    even = 60 * torch.eye(4)[[0, 1, 2, 3] * 3]
    features = even + 0.01 * torch.randn(12, 4, generator=torch.Generator().manual_seed(2))
    classifier = torch.eye(4) - 0.25
    best = transfer_score(even, features, classifier)
    assert best == pytest.approx(2, abs=0.02)
    for logits in (torch.zeros(12, 4), even[[0] * 12]):
        worse = transfer_score(logits, features, classifier)
        assert worse is not None and worse < 1.01


def test_none_where_it_cannot_be() -> None:
    assert transfer_score(LOGITS, FEATURES, None) is None
    assert transfer_score(LOGITS[:, :1], FEATURES, CLASSIFIER[:1]) is None
    assert transfer_score(LOGITS[:1], FEATURES[:1], CLASSIFIER) is None


def test_the_order_of_videos_does_not_matter() -> None:
    order = torch.randperm(9, generator=DRAWS)
    turned = transfer_score(LOGITS[order], FEATURES[order], CLASSIFIER)
    assert turned == pytest.approx(transfer_score(LOGITS, FEATURES, CLASSIFIER), abs=1e-12)


def test_a_long_list_is_probed_by_a_fixed_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole, measure = hopkins(FEATURES), transfer._to_nearest

    def counted(points: Tensor, rows: Tensor, itself: Tensor | None = None) -> Tensor:
        asked.append(len(points))
        return measure(points, rows, itself)

    monkeypatch.setattr(transfer, "_to_nearest", counted)
    monkeypatch.setattr(transfer, "MOST_PROBES", 4)
    assert hopkins(FEATURES) == hopkins(FEATURES) != whole
    assert asked == [4] * 4

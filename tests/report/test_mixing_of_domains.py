"""Shares of cross-domain neighbours, beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from comix_fast.report.gathering.mixing import cross_domain, of_spaces
from comix_fast.retrieval import Embeddings


def embeddings(name: str, vectors: np.ndarray, labels: np.ndarray) -> Embeddings:
    return Embeddings(tuple(f"{name}{n}" for n in range(len(vectors))), vectors.astype(np.float32), labels)


def counted_by_hand(source: Embeddings, target: Embeddings, k: int) -> tuple[float, float]:
    vectors = np.concatenate([source.vectors, target.vectors]).astype(float)
    labels = [*source.labels, *target.labels]
    crossed = right = of_labelled = 0
    for number, asked in enumerate(target.vectors.astype(float)):
        own = len(source.ids) + number
        similar = [
            (-(asked @ other) / np.linalg.norm(asked) / np.linalg.norm(other), place)
            for place, other in enumerate(vectors)
            if place != own
        ]
        for _, place in sorted(similar)[:k]:
            if place < len(source.ids):
                crossed += 1
                if target.labels[number] >= 0:
                    of_labelled += 1
                    right += labels[place] == target.labels[number]
    return crossed / (k * len(target.ids)), right / of_labelled


@pytest.mark.parametrize("k", [1, 4, 9])
def test_shares_are_those_of_plain_loops(rng: np.random.Generator, k: int) -> None:
    source = embeddings("s", rng.normal(size=(23, 6)), rng.integers(0, 3, 23))
    target = embeddings("t", rng.normal(size=(17, 6)) + 0.3, rng.integers(-1, 3, 17))
    found = cross_domain(source, target, k)
    assert found is not None
    share, right = counted_by_hand(source, target, k)
    assert found["cross_share"] == pytest.approx(share)
    assert found["cross_right"] == pytest.approx(right)
    assert found["cross_expected"] == pytest.approx(23 / 39)
    assert 0 < share < 1


def test_domains_apart_and_domains_in_one_place() -> None:
    away = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]])
    labels = np.zeros(3, np.int64)
    apart = cross_domain(embeddings("s", away, labels), embeddings("t", -away, labels), 2)
    assert apart == {"k": 2, "cross_share": 0.0, "cross_expected": 0.6, "cross_right": None}
    twins = cross_domain(embeddings("s", away, labels), embeddings("t", away, labels + 1), 1)
    assert twins is not None and (twins["cross_share"], twins["cross_right"]) == (1.0, 0.0)


def test_k_is_what_there_is_and_no_labels_say_nothing() -> None:
    few = embeddings("s", np.eye(2), np.array([0, 1]))
    unlabelled = embeddings("t", np.eye(2) + 0.1, np.array([-1, -1]))
    found = of_spaces({"last": {"source": few, "target": unlabelled}}, 9)
    assert found["k"] == 3
    assert found["spaces"]["last"]["cross_right"] is None
    assert found["spaces"]["last"]["cross_share"] == pytest.approx(2 / 3)
    nobody = embeddings("s", np.zeros((0, 2)), np.array([], np.int64))
    alone = embeddings("t", np.ones((1, 2)), np.array([0]))
    assert of_spaces({"last": {"source": nobody, "target": alone}}, 5) == {"k": 5, "spaces": {}}

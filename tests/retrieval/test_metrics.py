"""Scores of small rankings, worked by hand or by plain loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from comix_fast.errors import ComixError, ShapeError
from comix_fast.retrieval import (
    average_precision,
    hit_at_k,
    knn_accuracy,
    knn_predict,
    mean_average_precision,
    precision_at_k,
    recall_at_k,
    relevant_counts,
)
from comix_fast.retrieval.metrics import mean_score

# Five queries and their three nearest; the gallery holds four of class 0, two of 1, one of 2, none of 3.
NEAR = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 2], [0, 0, 0]])
LABELS = np.array([0, 1, 2, 3, -1])
GALLERY = np.array([0, 0, 0, 0, 1, 1, 2])
SIMILARITY = np.array([[0.9, 0.8, 0.7]] * 5, np.float32)


def test_precision_by_hand() -> None:
    score = precision_at_k(NEAR, LABELS)
    assert score.name == "precision@3"
    assert score.value == pytest.approx((2 / 3 + 1 / 3 + 0 + 0) / 4)
    assert (score.counted, score.no_relevant, score.unlabelled) == (4, 0, 1)
    assert [(item.label, item.counted) for item in score.per_class] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    assert [item.value for item in score.per_class] == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_recall_and_hits_by_hand() -> None:
    relevant = relevant_counts(LABELS, GALLERY)
    assert relevant.tolist() == [4, 2, 1, 0, 0]
    recall = recall_at_k(NEAR, LABELS, relevant)
    assert recall.name == "recall@3"
    assert recall.value == pytest.approx((2 / 4 + 1 / 2 + 0 / 1) / 3)
    hit = hit_at_k(NEAR, LABELS, relevant)
    assert hit.name == "hit@3"
    assert hit.value == pytest.approx((1 + 1 + 0) / 3)
    for score in (recall, hit):
        assert (score.counted, score.no_relevant, score.unlabelled) == (3, 1, 1)
        assert [item.label for item in score.per_class] == [0, 1, 2]


def test_relevant_counts_leave_out_the_query_itself() -> None:
    labels = np.array([0, 0, 1, -1])
    assert relevant_counts(labels, labels, np.arange(4)).tolist() == [1, 1, 0, 0]
    assert relevant_counts(labels, labels, np.full(4, -1)).tolist() == [2, 2, 1, 0]
    # a row left out that is of another class takes nothing away
    assert relevant_counts(labels, labels, np.array([2, 3, 0, 0])).tolist() == [2, 2, 1, 0]


def test_average_precision_by_hand() -> None:
    # relevant at ranks 1, 3, 4: (1/1 + 2/3 + 3/4) / 3
    relevance = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    expected = [(1 + 2 / 3 + 3 / 4) / 3, 1 / 5, 1, math.nan]
    np.testing.assert_allclose(average_precision(relevance), expected)
    score = mean_average_precision(average_precision(relevance), np.array([0, 1, 1, 2]))
    assert score.value == pytest.approx((expected[0] + 1 / 5 + 1) / 3)
    assert [item.value for item in score.per_class] == pytest.approx([expected[0], 0.6])
    assert score.class_mean == pytest.approx((expected[0] + 0.6) / 2)
    assert (score.counted, score.no_relevant, score.unlabelled) == (3, 1, 0)


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any))
def test_average_precision_agrees_with_loops_and_scikit_learn(relevance: list[bool]) -> None:
    precisions = [sum(relevance[: rank + 1]) / (rank + 1) for rank in range(len(relevance)) if relevance[rank]]
    (ours,) = average_precision(np.array([relevance]))
    assert ours == pytest.approx(sum(precisions) / len(precisions))
    assert ours == pytest.approx(average_precision_score(relevance, -np.arange(len(relevance))))


@pytest.mark.parametrize(
    ("labels", "similarity", "majority", "weighted"),
    [
        ([1, 0, 0], [0.9, 0.89, 0.88], 0, 0),  # two votes beat one, near enough in weight too
        ([1, 0, 0], [0.9, 0.5, 0.5], 0, 1),  # exp(0.9/0.07) is 303 times exp(0.5/0.07)
        ([2, 1, 1, 2], [0.5, 0.5, 0.5, 0.5], 2, 2),  # two each: the nearest voter's class
        ([1, 2, 2, 1], [0.5, 0.5, 0.5, 0.5], 1, 1),
        ([3, 1, 1, 2, 2], [0.9, 0.8, 0.7, 0.6, 0.5], 1, 3),  # 1 and 2 have two each, 1 has the nearer voter
        ([5], [-0.3], 5, 5),
        ([4, 0, 0], [-0.1, -0.9, -0.9], 0, 4),  # below zero, nearer still weighs more
    ],
)
def test_votes_by_hand(labels: list[int], similarity: list[float], majority: int, weighted: int) -> None:
    near, near_similarity = np.array([labels]), np.array([similarity], np.float32)
    assert knn_predict(near, near_similarity).tolist() == [majority]
    assert knn_predict(near, near_similarity, "similarity").tolist() == [weighted]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-10, 10)), min_size=1, max_size=9))
def test_votes_agree_with_plain_loops(neighbours: list[tuple[int, int]]) -> None:
    neighbours.sort(key=lambda item: -item[1])
    labels = [label for label, _ in neighbours]
    similarity = np.array([[tenths / 10 for _, tenths in neighbours]], np.float32)
    for vote in ("majority", "similarity"):
        best, best_votes = -1, -1.0
        for label in dict.fromkeys(labels):  # in order of the nearest voter
            votes = 0.0
            for other, near in zip(labels, similarity[0].tolist(), strict=True):
                if other == label:
                    votes += 1 if vote == "majority" else math.exp((near - float(similarity[0, 0])) / 0.07)
            if votes > best_votes * (1 + 1e-12):
                best, best_votes = label, votes
        assert knn_predict(np.array([labels]), similarity, vote).tolist() == [best]  # type: ignore[arg-type]


def test_knn_accuracy_by_hand() -> None:
    # votes 0, 0, 0, 0 (three ways tied, 0 nearest), 0 for labels 0, 1, 2, 3, unlabelled
    score = knn_accuracy(NEAR, SIMILARITY, LABELS)
    assert score.name == "3-NN accuracy"
    assert score.value == 0.25
    assert [item.value for item in score.per_class] == [1, 0, 0, 0]
    assert (score.counted, score.no_relevant, score.unlabelled) == (4, 0, 1)


def test_overall_weighs_queries_and_class_mean_weighs_classes() -> None:
    score = mean_score("x", np.array([1.0, 1.0, 1.0, 0.0]), np.array([7, 7, 7, 2]))
    assert (score.value, score.class_mean) == (0.75, 0.5)
    assert [item.label for item in score.per_class] == [2, 7]


def test_nothing_to_count_has_no_value() -> None:
    score = precision_at_k(NEAR, np.full(5, -1))
    assert (score.value, score.class_mean, score.per_class, score.unlabelled) == (None, None, (), 5)
    score = recall_at_k(NEAR, np.full(5, 9), np.zeros(5, np.int64))
    assert (score.value, score.no_relevant) == (None, 5)


def test_an_unlabelled_neighbour_is_relevant_to_nobody_and_cannot_vote() -> None:
    near = np.array([[-1, 0]])
    assert precision_at_k(near, np.array([-1])).unlabelled == 1
    assert precision_at_k(near, np.array([0])).value == 0.5
    with pytest.raises(ComixError, match="can't vote"):
        knn_predict(near, np.ones((1, 2), np.float32))


def test_scores_can_be_written_as_json() -> None:
    text = json.dumps(recall_at_k(NEAR, LABELS, relevant_counts(LABELS, GALLERY)).to_json(), allow_nan=False)
    read = json.loads(text)
    assert read["name"] == "recall@3"
    assert read["per_class"][1] == {"label": 1, "value": 0.5, "counted": 1}


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError):
        precision_at_k(NEAR, LABELS[:4])
    with pytest.raises(ShapeError):
        precision_at_k(NEAR[:, :0], LABELS)
    with pytest.raises(ShapeError):
        knn_predict(NEAR, SIMILARITY[:, :2])
    with pytest.raises(ShapeError):
        mean_average_precision(np.ones(3), LABELS)

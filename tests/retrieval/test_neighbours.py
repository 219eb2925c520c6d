"""Retrieval from two sets of embeddings, against plain loops over points in the plane."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comix_fast.errors import ComixError, ShapeError
from comix_fast.retrieval import Embeddings, RetrievalResult, evaluate


def points(labelled: dict[float, int], prefix: str = "v") -> Embeddings:
    """Points at angles (degrees), with labels; of growing length, which must not matter."""
    angles = np.radians(list(labelled))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, len(angles) + 1)[:, None]
    return Embeddings(tuple(f"{prefix}{d:g}" for d in labelled), vectors, np.array(list(labelled.values())))


QUERY = points({0: 0, 90: 1, 180: 2, 270: -1}, "q")
GALLERY = points({5: 0, 20: 1, 80: 1, 110: 0, 300: 0}, "g")


def values(result: RetrievalResult) -> dict[str, float | None]:
    return {score.name: score.value for score in result.scores}


def test_neighbours_by_eye() -> None:
    result = evaluate(QUERY, GALLERY, 2)
    found = {q.id: [near.id for near in q.neighbours] for q in result.queries}
    assert found == {
        "q0": ["g5", "g20"],
        "q90": ["g80", "g110"],
        "q180": ["g110", "g80"],
        "q270": ["g300", "g5"],
    }
    first = result.queries[0]
    assert first.label == 0
    assert [near.same_class for near in first.neighbours] == [True, False]
    assert first.neighbours[0].similarity == pytest.approx(math.cos(math.radians(5)))
    assert [near.same_class for near in result.queries[3].neighbours] == [None, None]
    assert (result.gallery, result.gallery_unlabelled, result.tied_at_k, result.same_set) == (5, 0, 0, False)


def test_scores_by_hand() -> None:
    result = evaluate(QUERY, GALLERY, 2)
    # q0 (class 0): order 5, 20, 300, 80, 110 -> relevant at ranks 1, 3, 5
    # q90 (class 1): order 80, 110, 20, 5, 300 -> relevant at ranks 1, 3
    # q180 (class 2): nothing relevant; q270: no label
    first, second = (1 + 2 / 3 + 3 / 5) / 3, (1 + 2 / 3) / 2
    assert values(result) == {
        "precision@2": pytest.approx((1 / 2 + 1 / 2 + 0) / 3),
        "recall@2": pytest.approx((1 / 3 + 1 / 2) / 2),
        "hit@2": 1.0,
        "mAP": pytest.approx((first + second) / 2),
        "2-NN accuracy": pytest.approx(2 / 3),
    }
    score = result.score("mAP")
    assert (score.counted, score.no_relevant, score.unlabelled) == (2, 1, 1)
    with pytest.raises(ComixError, match="precision@2, recall@2"):
        result.score("precision@5")


def test_same_set_leaves_each_query_out() -> None:
    one = points({0: 0, 1: 1, 10: 0, 12: 1})
    result = evaluate(one, one, 1, same_set=True)
    assert [q.neighbours[0].id for q in result.queries] == ["v1", "v0", "v12", "v10"]
    assert values(result)["precision@1"] == 0.0
    # one of the three others is relevant (*); 0: 1, 10*, 12; 1: 0, 10, 12*; 10: 12, 1, 0*; 12: 10, 1*, 0
    assert values(result)["mAP"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert values(evaluate(one, one, 1))["precision@1"] == 1.0


def test_same_set_wants_the_same_ids() -> None:
    with pytest.raises(ShapeError, match="ids differ"):
        evaluate(QUERY, GALLERY, 1, same_set=True)


def brute_force(query: Embeddings, gallery: Embeddings, k: int, same_set: bool) -> dict[str, list[float]]:
    """Every measure by loops over Python lists."""
    scores: dict[str, list[float]] = {"precision": [], "recall": [], "hit": [], "mAP": [], "knn": []}
    unit = [[v / np.linalg.norm(v) for v in part.vectors] for part in (query, gallery)]
    for q, label in enumerate(query.labels.tolist()):
        rows = [row for row in range(len(gallery.ids)) if not (same_set and row == q)]
        rows = [row for row in rows if gallery.labels[row] >= 0]
        near = {row: np.float32(np.float32(unit[0][q]).astype(float) @ np.float32(unit[1][row])) for row in rows}
        ranked = [int(gallery.labels[row]) for row in sorted(rows, key=lambda row: (-near[row], row))]
        if label < 0:
            continue
        top, total = ranked[:k], ranked.count(label)
        scores["precision"].append(top.count(label) / k)
        scores["knn"].append(max(dict.fromkeys(top), key=top.count) == label)
        if total:
            scores["recall"].append(top.count(label) / total)
            scores["hit"].append(label in top)
            ranks = [place + 1 for place, other in enumerate(ranked) if other == label]
            scores["mAP"].append(sum((found + 1) / rank for found, rank in enumerate(ranks)) / total)
    return scores


def check(query: Embeddings, gallery: Embeddings, k: int, same_set: bool, chunk: int | None) -> None:
    result = evaluate(query, gallery, k, same_set=same_set, chunk=chunk)
    expected = brute_force(query, gallery, k, same_set)
    for score, (name, numbers) in zip(result.scores, expected.items(), strict=True):
        assert score.counted == len(numbers), name
        assert score.counted + score.no_relevant + score.unlabelled == len(query.ids)
        assert score.value == (pytest.approx(sum(numbers) / len(numbers)) if numbers else None), name


def embeddings(labels: list[int], rng: np.random.Generator, dims: int = 5) -> Embeddings:
    return Embeddings(
        tuple(f"v{i}" for i in range(len(labels))), rng.normal(size=(len(labels), dims)), np.array(labels)
    )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(-1, 3), min_size=1, max_size=12),
    st.lists(st.integers(-1, 3), min_size=2, max_size=30).filter(lambda labels: sum(x >= 0 for x in labels) > 1),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
    st.integers(0, 1000),
)
def test_every_measure_agrees_with_plain_loops(
    query_labels: list[int], gallery_labels: list[int], k: int, same_set: bool, chunk: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    gallery = embeddings(gallery_labels, rng)
    query = gallery if same_set else embeddings(query_labels, rng)
    k = min(k, sum(label >= 0 for label in gallery_labels) - same_set)
    check(query, gallery, k, same_set, chunk)


def test_a_gallery_larger_than_what_faiss_is_asked_for(rng: np.random.Generator) -> None:
    gallery = embeddings(rng.integers(-1, 4, 200).tolist(), rng)
    check(embeddings(rng.integers(-1, 5, 40).tolist(), rng), gallery, 5, False, None)
    check(gallery, gallery, 5, True, 7)


def test_chunks_equal_the_whole(rng: np.random.Generator) -> None:
    gallery = embeddings(rng.integers(0, 4, 60).tolist(), rng)
    whole = evaluate(gallery, gallery, 3, same_set=True)
    for chunk in (1, 7, 60, 1000):
        assert evaluate(gallery, gallery, 3, same_set=True, chunk=chunk) == whole


def test_an_unlabelled_gallery_has_neighbours_and_no_scores() -> None:
    blank = Embeddings(GALLERY.ids, GALLERY.vectors, np.full(5, -1))
    result = evaluate(QUERY, blank, 2)
    assert result.scores == () and result.gallery_unlabelled == 5
    assert [near.same_class for near in result.queries[0].neighbours] == [None, None]
    with pytest.raises(ComixError, match="no gallery item has a label"):
        result.score("mAP")


def test_unlabelled_gallery_items_are_shown_and_not_scored() -> None:
    partly = Embeddings(GALLERY.ids, GALLERY.vectors, np.array([-1, 1, 1, 0, 0]))
    result = evaluate(QUERY, partly, 2)
    assert result.queries[0].neighbours[0].id == "g5"
    assert result.queries[0].neighbours[0].same_class is None
    # without g5, q0's two nearest are g20 (class 1) and g300 (class 0)
    assert result.score("precision@2").per_class[0].value == 0.5
    assert result.gallery_unlabelled == 1
    with pytest.raises(ComixError, match="only 4 items"):
        evaluate(QUERY, partly, 5)


def test_a_collapsed_set_says_so() -> None:
    flat = Embeddings(tuple("abcd"), np.ones((4, 3)), np.array([0, 0, 1, 1]))
    assert evaluate(flat, flat, 2, same_set=True).tied_at_k == 4
    assert evaluate(flat, flat, 3, same_set=True).tied_at_k == 0  # all there are: no cut, no choice
    assert [q.neighbours[0].id for q in evaluate(flat, flat, 2, same_set=True).queries] == [
        "b",
        "a",
        "a",
        "a",
    ]


def test_the_similarity_vote_is_passed_on() -> None:
    gallery = points({1: 0, 80: 1, 85: 1}, "g")
    query = points({0: 0}, "q")
    assert evaluate(query, gallery, 3).score("3-NN accuracy").value == 0.0
    assert evaluate(query, gallery, 3, vote="similarity").score("3-NN accuracy").value == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_vectors_without_a_direction_are_named(value: float) -> None:
    vectors = GALLERY.vectors.copy()
    vectors[2] = value
    broken = Embeddings(GALLERY.ids, vectors, GALLERY.labels)
    with pytest.raises(ComixError, match=r"1 of 5 vectors .*\n  g80 \(row 2\)"):
        evaluate(QUERY, broken, 1)
    with pytest.raises(ComixError, match=r"1 of 5 vectors .*\n  g80 \(row 2\)"):
        evaluate(broken, GALLERY, 1)


@pytest.mark.parametrize("k", [0, 6])
def test_k_outside_the_gallery_is_refused(k: int) -> None:
    with pytest.raises(ComixError, match=f"k = {k}"):
        evaluate(QUERY, GALLERY, k)


def test_embeddings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 ids"):
        Embeddings(("a", "b"), np.ones((3, 2)), np.zeros(3, int))
    with pytest.raises(ShapeError, match="whole numbers"):
        Embeddings(("a",), np.ones((1, 2)), np.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="whole numbers"):
        Embeddings(("a",), np.ones((1, 2)), np.array([-2]))
    with pytest.raises(ComixError, match=r"1 ids occur more than once\n  a"):
        Embeddings(("a", "b", "a"), np.ones((3, 2)), np.zeros(3, int))
    with pytest.raises(ShapeError, match="of one D"):
        evaluate(QUERY, Embeddings(("a",), np.ones((1, 3)), np.zeros(1, int)), 1)


def test_a_result_can_be_written_as_json() -> None:
    read = json.loads(json.dumps(evaluate(QUERY, GALLERY, 2).to_json(), allow_nan=False))
    assert read["k"] == 2 and len(read["queries"]) == 4
    assert read["queries"][0]["neighbours"][1] == {
        "id": "g20",
        "label": 1,
        "similarity": pytest.approx(math.cos(math.radians(20))),
        "same_class": False,
    }
    assert [score["name"] for score in read["scores"]][3] == "mAP"

"""How good a ranking is, from neighbours' labels alone: precision, recall, hits, mAP, k-NN accuracy.

Labels are class numbers from 0; -1 means unlabelled. A gallery item is relevant to a query when their labels
are equal. Every score is a mean over queries, and says how many queries it could not count and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from comix_fast.errors import ComixError, ShapeError
from comix_fast.retrieval.vectors import Bools, Float32s, Int64s

Float64s = NDArray[np.float64]
Vote = Literal["majority", "similarity"]

UNLABELLED = -1
VOTE_TEMPERATURE = 0.07


@dataclass(frozen=True)
class ClassScore:
    """A score within one class of queries. value: in [0, 1]; counted: how many queries it is the mean of."""

    label: int
    value: float
    counted: int


@dataclass(frozen=True)
class Score:
    """One measure over all queries; counted + no_relevant + unlabelled is the number of queries.

    name: "precision@5", "mAP", …
    value: mean over the counted queries, in [0, 1]; None when none is counted.
    class_mean: mean of the per-class values, every class the same weight; None likewise.
    per_class: by label, rising; only classes with a counted query.
    counted: queries in the mean. no_relevant: labelled queries left out, no gallery item having their label.
    unlabelled: queries left out because they have no label.
    """

    name: str
    value: float | None
    class_mean: float | None
    per_class: tuple[ClassScore, ...]
    counted: int
    no_relevant: int
    unlabelled: int

    def to_json(self) -> dict[str, Any]:
        """All fields by name, ready for json.dump; per_class as a list of {label, value, counted}."""
        return {**vars(self), "per_class": [dict(vars(item)) for item in self.per_class]}


def relevant_counts(query_labels: Int64s, gallery_labels: Int64s, exclude: Int64s | None = None) -> Int64s:
    """How many gallery items share each query's label, the left-out row not counted.

    query_labels: [Q], gallery_labels: [N], exclude: [Q] gallery rows or -1, as in search. Returns [Q] int64;
    0 for unlabelled queries.
    """
    per_label = np.bincount(gallery_labels[gallery_labels >= 0], minlength=int(query_labels.max(initial=0)) + 1)
    counts = np.where(query_labels >= 0, per_label[query_labels], 0).astype(np.int64)
    if exclude is not None:
        own = (exclude >= 0) & (query_labels >= 0) & (gallery_labels[exclude] == query_labels)
        counts -= own
    return counts


def precision_at_k(neighbour_labels: Int64s, query_labels: Int64s) -> Score:
    """Share of the first k neighbours that are relevant (Manning et al. 2008, §8.4).

    neighbour_labels: [Q, k], nearest first; query_labels: [Q]. A query without any relevant gallery item
    counts, with 0.
    """
    relevant = _relevant(neighbour_labels, query_labels)
    return mean_score(f"precision@{relevant.shape[1]}", relevant.mean(axis=1), query_labels)


def recall_at_k(neighbour_labels: Int64s, query_labels: Int64s, relevant: Int64s) -> Score:
    """Share of all relevant gallery items that the first k neighbours hold (Manning et al. 2008, §8.3).

    At most k / relevant, so small where classes are large; see hit_at_k for metric learning's "Recall@K".
    relevant: [Q], from relevant_counts; queries with 0 are left out and counted.
    """
    found = _relevant(neighbour_labels, query_labels)
    share = found.sum(axis=1) / np.maximum(relevant, 1)
    return mean_score(f"recall@{found.shape[1]}", np.where(relevant > 0, share, np.nan), query_labels)


def hit_at_k(neighbour_labels: Int64s, query_labels: Int64s, relevant: Int64s) -> Score:
    """Share of queries with at least one relevant item among the first k: "Recall@K" of metric learning
    (Oh Song et al. 2016).

    relevant: [Q], from relevant_counts; queries with 0 can't hit, so are left out and counted.
    """
    found = _relevant(neighbour_labels, query_labels)
    hit = found.any(axis=1).astype(np.float64)
    return mean_score(f"hit@{found.shape[1]}", np.where(relevant > 0, hit, np.nan), query_labels)


def average_precision(ranked_relevance: Bools) -> Float64s:
    """Mean, over a query's relevant items, of the precision at their ranks (Manning et al. 2008, §8.4).

    ranked_relevance: [Q, N], True where the item at that rank is relevant; the whole gallery, nearest first.
    Not interpolated. Returns [Q] float64; NaN for a query without relevant items.
    """
    query, place = np.nonzero(ranked_relevance)  # by query, and within it from the nearest
    total = np.bincount(query, minlength=len(ranked_relevance))
    before = np.cumsum(total) - total
    found = np.arange(1, len(query) + 1) - before[query]
    summed = np.bincount(query, found / (place + 1), minlength=len(ranked_relevance))
    return np.where(total > 0, summed / np.maximum(total, 1), np.nan)


def mean_average_precision(average_precisions: Float64s, query_labels: Int64s) -> Score:
    """The mean of average_precision over queries; those with NaN (nothing relevant) are left out and counted.

    average_precisions: [Q] float64, chunks of queries put together; query_labels: [Q].
    """
    return mean_score("mAP", average_precisions, query_labels)


def knn_predict(neighbour_labels: Int64s, similarity: Float32s, vote: Vote = "majority") -> Int64s:
    """The class that the k neighbours vote for.

    neighbour_labels, similarity: [Q, k], nearest first, all labelled.
    vote: "majority", one vote each; "similarity", exp(similarity / 0.07) each (Wu et al. 2018, §3.4).
    Classes with equal votes: the one with the nearest voter wins. Returns [Q] int64.
    Raises ShapeError for shapes that differ, ComixError for an unlabelled neighbour.
    """
    if neighbour_labels.ndim != 2 or 0 in neighbour_labels.shape[1:] or neighbour_labels.shape != similarity.shape:
        shapes = f"{list(neighbour_labels.shape)} and {list(similarity.shape)}"
        raise ShapeError(f"neighbour labels and similarity must both be [Q, k], k at least 1, got {shapes}")
    if (neighbour_labels < 0).any():
        raise ComixError("an unlabelled neighbour can't vote", hint="search the labelled part of the gallery only")
    weights = np.ones(similarity.shape)
    if vote == "similarity":
        wide = similarity.astype(np.float64)
        weights = np.exp((wide - wide.max(axis=1, keepdims=True)) / VOTE_TEMPERATURE)
    # votes[q, i]: what neighbour i's class gets from all k; the first maximum is the nearest voter's
    votes = np.zeros(similarity.shape)
    for place in range(similarity.shape[1]):
        votes += (neighbour_labels == neighbour_labels[:, place, None]) * weights[:, place, None]
    winner = votes.argmax(axis=1)
    predicted: Int64s = neighbour_labels[np.arange(len(winner)), winner]
    return predicted


def knn_accuracy(
    neighbour_labels: Int64s, similarity: Float32s, query_labels: Int64s, vote: Vote = "majority"
) -> Score:
    """Share of queries whose class knn_predict gets right; arguments as there, query_labels: [Q].

    A query without any relevant gallery item counts, as an error.
    """
    right = knn_predict(neighbour_labels, similarity, vote) == query_labels
    return mean_score(f"{neighbour_labels.shape[1]}-NN accuracy", right.astype(np.float64), query_labels)


def mean_score(name: str, values: Float64s, query_labels: Int64s) -> Score:
    """Means of a per-query measure, overall and by class.

    values: [Q] float64, NaN where the query has nothing relevant to find; query_labels: [Q], -1 unlabelled.
    Raises ShapeError where the two do not match.
    """
    if values.shape != query_labels.shape or values.ndim != 1:
        shapes = f"{list(values.shape)} and {list(query_labels.shape)}"
        raise ShapeError(f"{name}: values and query labels must both be [Q], got {shapes}")
    labelled = query_labels >= 0
    counted = labelled & ~np.isnan(values)
    per_class = tuple(
        ClassScore(int(label), float(values[counted & (query_labels == label)].mean()), int(count))
        for label, count in zip(*np.unique(query_labels[counted], return_counts=True), strict=True)
    )
    return Score(
        name=name,
        value=float(values[counted].mean()) if per_class else None,
        class_mean=float(np.mean([item.value for item in per_class])) if per_class else None,
        per_class=per_class,
        counted=int(counted.sum()),
        no_relevant=int((labelled & ~counted).sum()),
        unlabelled=int((~labelled).sum()),
    )


def _relevant(neighbour_labels: Int64s, query_labels: Int64s) -> Bools:
    if neighbour_labels.ndim != 2 or neighbour_labels.shape[1] == 0 or query_labels.shape != neighbour_labels.shape[:1]:
        shapes = f"{list(neighbour_labels.shape)} and {list(query_labels.shape)}"
        raise ShapeError(f"neighbour and query labels must be [Q, k] and [Q], k at least 1, got {shapes}")
    relevant: Bools = neighbour_labels == query_labels[:, None]
    return relevant

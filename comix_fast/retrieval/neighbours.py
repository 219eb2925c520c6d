"""Retrieval between two sets of embeddings, ready for a table or a JSON file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from comix_fast.errors import ComixError, ShapeError, first_few
from comix_fast.retrieval.approximate import recall_against_flat, search_through
from comix_fast.retrieval.factory import IndexChoice, IndexReport
from comix_fast.retrieval.index import ranked_relevance
from comix_fast.retrieval.metrics import (
    Float64s,
    Score,
    Vote,
    average_precision,
    hit_at_k,
    knn_accuracy,
    mean_average_precision,
    precision_at_k,
    recall_at_k,
    relevant_counts,
)
from comix_fast.retrieval.vectors import Float32s, Floats, Int64s, check_pair, l2_normalise


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector per video.

    ids: N different names. vectors: [N, D] real, of any scale. labels: [N] class numbers from 0, -1 unknown.
    Raises ShapeError when the three do not match, ComixError for an id that occurs twice.
    """

    ids: tuple[str, ...]
    vectors: Floats
    labels: Int64s

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.ids) == len(self.vectors) == len(self.labels):
            got = f"{len(self.ids):,} ids, vectors {list(self.vectors.shape)}, labels {list(self.labels.shape)}"
            raise ShapeError(f"embeddings must be N ids, vectors [N, D] and labels [N], got {got}")
        if self.labels.ndim != 1 or self.labels.dtype.kind not in "iu" or (self.labels < -1).any():
            raise ShapeError("labels must be [N] whole numbers of at least -1 (-1: unlabelled)")
        if len(set(self.ids)) < len(self.ids):
            twice = [name for name, times in Counter(self.ids).items() if times > 1]
            raise ComixError(f"{len(twice):,} ids occur more than once", [first_few(twice)])


@dataclass(frozen=True)
class Neighbour:
    """A gallery item found. similarity: cosine in [-1, 1]; same_class: None if a label is unknown."""

    id: str
    label: int
    similarity: float
    same_class: bool | None


@dataclass(frozen=True)
class QueryNeighbours:
    """A query and its k neighbours, nearest first."""

    id: str
    label: int
    neighbours: tuple[Neighbour, ...]

    def to_json(self) -> dict[str, Any]:
        """{id, label, neighbours: [{id, label, similarity, same_class}]}."""
        return {**vars(self), "neighbours": [dict(vars(item)) for item in self.neighbours]}


@dataclass(frozen=True)
class RetrievalResult:
    """Who is near whom, and how often that is right.

    queries: in the order given. scores: precision@k, recall@k, hit@k, mAP, k-NN accuracy, in that order; none
    when no gallery item is labelled.
    gallery: how many items were searched; gallery_unlabelled: how many of them have no label. Those appear as
    neighbours; the scores are taken over the labelled ones alone.
    same_set: whether queries and gallery are one set, each query itself left out.
    tied_at_k: queries whose k-th and next neighbour are equally similar. Which of the two is shown is then
    decided by the order of the gallery, so where this is large (a head that collapsed), trust no score.
    index: what found the neighbours, and how many of the true ones. mAP is of the whole ranking and always exact.
    """

    k: int
    vote: Vote
    same_set: bool
    gallery: int
    gallery_unlabelled: int
    tied_at_k: int
    queries: tuple[QueryNeighbours, ...]
    scores: tuple[Score, ...]
    index: IndexReport

    def score(self, name: str) -> Score:
        """The score of that name; raises ComixError with the names there are."""
        for score in self.scores:
            if score.name == name:
                return score
        known = ", ".join(score.name for score in self.scores) or "none: no gallery item has a label"
        raise ComixError(f"no score named {name!r}", [f"there are: {known}"])

    def to_json(self) -> dict[str, Any]:
        """All fields by name, ready for json.dump."""
        queries = [query.to_json() for query in self.queries]
        scores = [score.to_json() for score in self.scores]
        return {**vars(self), "queries": queries, "scores": scores, "index": self.index.to_json()}


def evaluate(
    query: Embeddings,
    gallery: Embeddings,
    k: int = 5,
    *,
    same_set: bool = False,
    vote: Vote = "majority",
    chunk: int | None = None,
    index: IndexChoice | None = None,
) -> RetrievalResult:
    """Finds every query's k nearest gallery items by cosine similarity and scores the ranking.

    same_set: query and gallery are the same videos in the same order; each is left out of its own neighbours.
    vote: how the k neighbours vote, see knn_predict. chunk: queries ranked at a time for mAP; None: what suits
    the processor's cache. index: what proposes the neighbours; None: the exact search.
    Raises ComixError for non-finite or zero vectors (named), an empty gallery, and k above the number of
    gallery items, or of labelled ones if there are any, or for an index that can't be made of this gallery;
    ShapeError for vectors of different lengths, or same_set with other ids.
    """
    if same_set and query.ids != gallery.ids:
        raise ShapeError("same_set was asked for, but query and gallery ids differ")
    queries, items = l2_normalise(query.vectors, query.ids), l2_normalise(gallery.vectors, gallery.ids)
    exclude = check_pair(queries, items, np.arange(len(queries)) if same_set else None)
    choice = index or IndexChoice()
    similarity, rows, tied, report = _search_with_ties(choice, queries, items, k, exclude)
    listed = tuple(_listed(query, place, gallery, similarity[place], rows[place]) for place in range(len(queries)))
    labelled = np.flatnonzero(gallery.labels >= 0)
    scores: tuple[Score, ...] = ()
    if labelled.size:
        if labelled.size < len(items):
            items, exclude = items[labelled], _renumbered(exclude, labelled)
            found = search_through(choice, queries, items, k, exclude)
            similarity, rows = found.similarity, found.index
        ranked = _Ranked(queries, items, gallery.labels[labelled].astype(np.int64), exclude)
        scores = _scores(ranked, query.labels.astype(np.int64), similarity, rows, vote, chunk)
    unlabelled = len(gallery.ids) - labelled.size
    return RetrievalResult(k, vote, same_set, len(gallery.ids), unlabelled, tied, listed, scores, report)


@dataclass(frozen=True, eq=False)
class _Ranked:
    queries: Float32s
    gallery: Float32s
    gallery_labels: Int64s
    exclude: Int64s


def _scores(
    ranked: _Ranked,
    query_labels: Int64s,
    similarity: Float32s,
    index: Int64s,
    vote: Vote,
    chunk: int | None,
) -> tuple[Score, ...]:
    near = ranked.gallery_labels[index]
    relevant = relevant_counts(query_labels, ranked.gallery_labels, ranked.exclude)
    return (
        precision_at_k(near, query_labels),
        recall_at_k(near, query_labels, relevant),
        hit_at_k(near, query_labels, relevant),
        mean_average_precision(_average_precisions(ranked, query_labels, chunk), query_labels),
        knn_accuracy(near, similarity, query_labels, vote),
    )


def _average_precisions(ranked: _Ranked, query_labels: Int64s, chunk: int | None) -> Float64s:
    """[Q] average precision over the whole gallery, a chunk of queries in memory at a time."""
    precisions = np.full(len(query_labels), np.nan)
    asked = ranked_relevance(
        ranked.queries, query_labels, ranked.gallery, ranked.gallery_labels, ranked.exclude, chunk=chunk
    )
    for part, relevant in asked:
        precisions[part] = average_precision(relevant)
    return precisions


def _search_with_ties(
    choice: IndexChoice, queries: Float32s, gallery: Float32s, k: int, exclude: Int64s
) -> tuple[Float32s, Int64s, int, IndexReport]:
    """search_through, how many queries have an equally similar item just beyond their k-th, and what was missed."""
    eligible = len(gallery) - int((exclude >= 0).any())
    beyond = 1 if 1 <= k < eligible else 0  # nothing beyond the k-th; or the search says what is wrong with k
    found = search_through(choice, queries, gallery, k + beyond, exclude)
    similarity, rows = found.similarity[:, :k], found.index[:, :k]
    tied = int((found.similarity[:, k - 1] == found.similarity[:, k]).sum()) if beyond else 0
    recall, sample = 1.0, 0
    if not choice.exact:
        recall, sample = recall_against_flat(similarity, queries, gallery, exclude, choice.seed)
    report = IndexReport(
        choice.factory,
        found.settings,
        k,
        recall,
        sample,
        choice.seed,
        found.completed,
        found.notes,
        found.build_seconds,
        found.search_seconds,
    )
    return similarity, rows, tied, report


def _renumbered(exclude: Int64s, kept: Int64s) -> Int64s:
    """Left-out gallery rows in the numbering of the kept rows (rising); -1 where that row is not kept."""
    place = np.searchsorted(kept, exclude)
    present = (exclude >= 0) & (kept[np.minimum(place, len(kept) - 1)] == exclude)
    return np.where(present, place, -1).astype(np.int64)


def _listed(query: Embeddings, place: int, gallery: Embeddings, similarity: Float32s, index: Int64s) -> QueryNeighbours:
    label = int(query.labels[place])
    neighbours = []
    for near, row in zip(similarity, index, strict=True):
        other = int(gallery.labels[row])
        same = None if label < 0 or other < 0 else label == other
        neighbours.append(Neighbour(gallery.ids[row], other, float(near), same))
    return QueryNeighbours(query.ids[place], label, tuple(neighbours))

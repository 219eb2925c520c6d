"""What the gallery's scripts find in Comix.values: who is near whom, as numbers into one table of videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from comix_fast.retrieval import QueryNeighbours, RetrievalResult, Vote, knn_predict
from comix_fast.retrieval.vectors import Int64s
from comix_fast.stages.retrieve import BACKBONE, DOMAINS, Retrieved

NO_LABEL = -1
NO_VOTE = -1
SIMILARITY_STEPS = 1_000_000
"""Similarities are kept as whole millionths, rounded down: the three digits shown are then rounded only once."""

_LABELS = {
    BACKBONE: "the backbone's features, averaged over the clips",
    "source-only": "the head trained on the source alone",
    "last": "the adapted head, last step",
    "selected": "the adapted head, step chosen without labels",
}


def gallery_values(retrieved: Retrieved) -> dict[str, Any]:
    """The values of a page without pictures.

    classes: names. domains: names, the source's first. query, gallery: {role, domain}. k; same_set; steps.
    videos: {ids, labels (NO_LABEL: unlabelled), domains (numbers into `domains`)}, parallel, each video once.
    queries: [Q] numbers of videos. before, after: numbers of spaces; before is None where there is one space only.
    spaces: per embedding {name, label, scores: [{name, value}], neighbours: [Q × k] numbers of videos, nearest first;
    similarities: [Q × k], `steps` of them to 1, rounded down; votes: [Q] classes, or NO_VOTE (no labels)}.
    """
    first = next(iter(retrieved.spaces.values()))
    numbers: dict[str, int] = {}
    labels: list[int] = []
    roles: list[int] = []

    def add(role: str, videos: Iterable[tuple[str, int]]) -> None:
        for video, label in videos:
            if video not in numbers:
                numbers[video] = len(labels)
                labels.append(label)
                roles.append(DOMAINS.index(role))

    add(retrieved.query, ((query.id, query.label) for query in first.queries))
    for result in retrieved.spaces.values():
        for query in result.queries:
            add(retrieved.gallery, ((near.id, near.label) for near in query.neighbours))
    before, after = before_and_after(list(retrieved.spaces))
    return {
        "classes": list(retrieved.classes),
        "domains": [retrieved.names[role] for role in DOMAINS],
        "query": {"role": retrieved.query, "domain": retrieved.names[retrieved.query]},
        "gallery": {"role": retrieved.gallery, "domain": retrieved.names[retrieved.gallery]},
        "k": first.k,
        "same_set": first.same_set,
        "steps": SIMILARITY_STEPS,
        "videos": {"ids": list(numbers), "labels": labels, "domains": roles},
        "queries": [numbers[query.id] for query in first.queries],
        "before": before,
        "after": after,
        "spaces": [_space(name, result, numbers) for name, result in retrieved.spaces.items()],
        "pictures": {"moving": False, "sources": []},
        "mixes": [],
    }


def before_and_after(spaces: Sequence[str]) -> tuple[int | None, int]:
    """Which two spaces are compared unless others are chosen; None and the only one where there is one."""
    if len(spaces) == 1:
        return None, 0
    after = next(name for name in ("last", "selected", "source-only", spaces[-1]) if name in spaces)
    before = "source-only" if "source-only" in spaces and after != "source-only" else spaces[0]
    return spaces.index(before), spaces.index(after)


def votes(queries: Sequence[QueryNeighbours], vote: Vote = "majority") -> list[int]:
    """[Q]: the class that each query's labelled neighbours among the k elect, see knn_predict; NO_VOTE without any."""
    elected = np.full(len(queries), NO_VOTE, np.int64)
    by_count: dict[int, list[int]] = {}
    for row, query in enumerate(queries):
        by_count.setdefault(sum(near.label >= 0 for near in query.neighbours), []).append(row)
    for count, rows in by_count.items():
        if count:
            elected[rows] = _elected([queries[row] for row in rows], vote)
    return elected.tolist()


def _elected(queries: Sequence[QueryNeighbours], vote: Vote) -> Int64s:
    """Of queries that have equally many labelled neighbours."""
    voters = [[near for near in query.neighbours if near.label >= 0] for query in queries]
    labels = np.array([[near.label for near in row] for row in voters], np.int64)
    similarity = np.array([[near.similarity for near in row] for row in voters], np.float32)
    return knn_predict(labels, similarity, vote)


def _space(name: str, result: RetrievalResult, numbers: Mapping[str, int]) -> dict[str, Any]:
    similarity = np.array([[near.similarity for near in query.neighbours] for query in result.queries], np.float64)
    return {
        "name": name,
        "label": _LABELS.get(name, name),
        "scores": [{"name": score.name, "value": score.value} for score in result.scores],
        "neighbours": [numbers[near.id] for query in result.queries for near in query.neighbours],
        "similarities": np.floor(similarity * SIMILARITY_STEPS).astype(np.int64).ravel().tolist(),
        "votes": votes(result.queries, result.vote),
    }

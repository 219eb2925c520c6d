"""How far source and target mix in a space: the share of a target video's neighbours that are of the source."""

from __future__ import annotations

from typing import Any

import numpy as np

from comix_fast.retrieval import Embeddings, l2_normalise, search


def cross_domain(source: Embeddings, target: Embeddings, k: int) -> dict[str, float | int | None] | None:
    """Over all target videos, of the k nearest among all others of both domains, by cosine, exactly:

    cross_share: the share that is of the source; cross_expected: what it is if domains mix completely, the source's
    share of the others; cross_right: of these source neighbours the share with the target video's class, over target
    videos that are labelled, None if there is no such neighbour. k: as many as there are others at most; it is given
    back. None where there is no other video. Raises ComixError for vectors without a direction.
    """
    n_source, n_target = len(source.ids), len(target.ids)
    k = min(k, n_source + n_target - 1)
    if k < 1 or not n_target:
        return None
    queries = l2_normalise(target.vectors, target.ids)
    everyone = np.concatenate([l2_normalise(source.vectors, source.ids), queries])
    _, rows = search(queries, everyone, k, n_source + np.arange(n_target))
    crossed = rows < n_source
    counted = crossed & (target.labels >= 0)[:, None]
    labels = np.concatenate([source.labels, target.labels])
    right = counted & (labels[rows] == target.labels[:, None])
    return {
        "k": k,
        "cross_share": float(crossed.mean()),
        "cross_expected": n_source / (n_source + n_target - 1),
        "cross_right": int(right.sum()) / int(counted.sum()) if counted.any() else None,
    }


def of_spaces(spaces: dict[str, dict[str, Embeddings]], k: int) -> dict[str, Any]:
    """{"k", "spaces": name -> shares} of several spaces of the same videos; see cross_domain."""
    found = {name: cross_domain(vectors["source"], vectors["target"], k) for name, vectors in spaces.items()}
    told = {name: shares for name, shares in found.items() if shares is not None}
    used = {int(shares["k"] or 0) for shares in told.values()}
    kept = ("cross_share", "cross_expected", "cross_right")
    return {
        "k": max(used, default=k),
        "spaces": {name: {what: shares[what] for what in kept} for name, shares in told.items()},
    }

"""Which videos a map shows when there are more than it takes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from comix_fast.retrieval.vectors import Int64s


def stratified(strata: Sequence[Hashable], wanted: int, seed: int) -> Int64s:
    """The places of `wanted` of the items, rising; all of them if there are no more.

    strata: of each item its group; every group keeps its share, within one item. Drawn by the seed alone.
    """
    if len(strata) <= wanted:
        return np.arange(len(strata))
    groups: dict[Hashable, list[int]] = {}
    for place, stratum in enumerate(strata):
        groups.setdefault(stratum, []).append(place)
    shares = {name: wanted * len(places) / len(strata) for name, places in groups.items()}
    counts = {name: int(share) for name, share in shares.items()}
    # What whole numbers leave goes to the largest remainders, the first group first among equal ones.
    left = wanted - sum(counts.values())
    for name in sorted(shares, key=lambda name: counts[name] - shares[name])[:left]:
        counts[name] += 1
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(places)[: counts[name]] for name, places in groups.items()]
    return np.sort(np.concatenate(drawn)).astype(np.int64)

"""Which videos a map shows: every domain and class keeps its share."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from comix_fast.report.gathering.sampling import stratified

STRATA = [("source", 0)] * 50 + [("source", 1)] * 30 + [("target", 0)] * 15 + [("target", 1)] * 5


@pytest.mark.parametrize("wanted", [1, 7, 20, 99])
def test_every_group_keeps_its_share(wanted: int) -> None:
    places = stratified(STRATA, wanted, seed=3)
    assert len(places) == wanted == len(set(places.tolist()))
    assert (np.diff(places) > 0).all()
    found = Counter(STRATA[place] for place in places)
    for group, size in Counter(STRATA).items():
        assert abs(found[group] - wanted * size / len(STRATA)) < 1


def test_the_seed_alone_decides() -> None:
    first = stratified(STRATA, 20, seed=3)
    assert np.array_equal(first, stratified(STRATA, 20, seed=3))
    assert not np.array_equal(first, stratified(STRATA, 20, seed=4))


def test_all_if_there_is_room() -> None:
    assert stratified(STRATA, 100, 0).tolist() == list(range(100))
    assert stratified([], 5, 0).tolist() == []

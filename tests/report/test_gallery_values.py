"""What the gallery's scripts find: who is near whom, whose vote wins, which spaces are before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from comix_fast.report.gallery_values import before_and_after, gallery_values, votes
from comix_fast.retrieval import Neighbour, QueryNeighbours
from gallery_builders import retrieved_of


def _query(*neighbours: tuple[int, float]) -> QueryNeighbours:
    return QueryNeighbours("q", 0, tuple(Neighbour(f"n{i}", *near, None) for i, near in enumerate(neighbours)))


def test_values_name_every_video_once_and_every_neighbour_in_order() -> None:
    retrieved = retrieved_of(20, 4, unlabelled=0.3, seed=1)
    values = gallery_values(retrieved)
    videos, k, steps = values["videos"], values["k"], values["steps"]
    ids, labels = videos["ids"], videos["labels"]
    assert len(set(ids)) == len(ids) == len(labels) == len(videos["domains"])
    for space, result in zip(values["spaces"], retrieved.spaces.values(), strict=True):
        for row, query in enumerate(result.queries):
            asked = values["queries"][row]
            assert (ids[asked], labels[asked], videos["domains"][asked]) == (query.id, query.label, 1)
            part = slice(row * k, (row + 1) * k)
            near = [(ids[n], labels[n], videos["domains"][n]) for n in space["neighbours"][part]]
            assert near == [(one.id, one.label, 0) for one in query.neighbours]
            for kept, one in zip(space["similarities"][part], query.neighbours, strict=True):
                assert 0 <= one.similarity - kept / steps < 1 / steps + 1e-12
    assert -1 in labels and min(values["spaces"][0]["similarities"]) < 0


def test_only_labelled_neighbours_vote() -> None:
    nobody, tie = _query((-1, 0.9), (-1, 0.8), (-1, 0.7)), _query((2, 0.9), (1, 0.8), (-1, 0.7))
    most, lone = _query((2, 0.9), (1, 0.8), (1, 0.7)), _query((-1, 0.9), (-1, 0.8), (3, 0.1))
    # Of equally many the nearest wins; a query's own place in the list is kept.
    assert votes([nobody, tie, most, lone, tie]) == [-1, 2, 1, 3, 2]
    assert votes([most], "similarity") == [2]
    assert votes([]) == []


@pytest.mark.parametrize(
    ("spaces", "pair"),
    [
        (["backbone"], (None, 0)),
        (["backbone", "source-only"], (0, 1)),
        (["backbone", "source-only", "last", "selected"], (1, 2)),
        (["backbone", "last"], (0, 1)),
        (["backbone", "selected"], (0, 1)),
    ],
)
def test_which_spaces_are_before_and_after(spaces: list[str], pair: tuple[int | None, int]) -> None:
    assert before_and_after(spaces) == pair
    values = gallery_values(retrieved_of(6, 3, spaces=dict.fromkeys(spaces, 0.5)))
    assert (values["before"], values["after"]) == pair


def test_no_path_of_the_machine_is_in_the_values() -> None:
    assert str(Path.cwd()) not in str(gallery_values(retrieved_of(6, 3)))

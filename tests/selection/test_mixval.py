"""MixVal with heads that can be sketched: where their boundaries lie is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.selection import mixed
from comix_fast.selection.mixed import mixval

POINTS = torch.tensor([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])


class Line:
    """Videos on a line; class 1 from `boundary` up. Keeps what it was asked."""

    def __init__(self, points: Tensor, boundary: float) -> None:
        self.points, self.boundary = points, boundary
        self.asked: list[tuple[int, int, float]] = []

    def logits(self, at: Tensor) -> Tensor:
        return torch.stack([self.boundary - at, at - self.boundary], dim=1)

    def __call__(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        self.asked += [(a, b, share) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
        return self.logits(share * self.points[first] + (1 - share) * self.points[second])


def by_loops(line: Line) -> float:
    """From the pairs that were asked, one at a time."""
    called = [int(point >= line.boundary) for point in line.points.tolist()]
    kept: dict[bool, list[bool]] = {True: [], False: []}
    for first, second, share in line.asked:
        at = share * float(line.points[first]) + (1 - share) * float(line.points[second])
        kept[called[first] == called[second]].append(int(at >= line.boundary) == called[first])
    return sum(sum(kind) / len(kind) for kind in kept.values() if kind) / 2


@pytest.mark.parametrize("boundary", [-2.5, -1.5, 0.0, 0.5, 2.5])
def test_by_plain_loops(boundary: float) -> None:
    line = Line(POINTS, boundary)
    score = mixval(line.logits(POINTS), line)
    assert score == pytest.approx(by_loops(line), abs=1e-12)


def test_every_video_has_a_partner_of_either_kind_and_never_itself() -> None:
    draws = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (30,), generator=draws)
    labels[7] = 5
    alone = {7}
    line = Line(torch.zeros(30), 0.0)
    mixval(torch.eye(6)[labels], lambda *asked: line(*asked)[:, [0, 0, 0, 0, 0, 0]])
    own = [(a, b) for a, b, _ in line.asked if labels[a] == labels[b]]
    others = [(a, b) for a, b, _ in line.asked if labels[a] != labels[b]]
    assert [a for a, _ in own] == [a for a in range(30) if a not in alone]
    assert [a for a, _ in others] == list(range(30))
    assert all(a != b for a, b in own)
    assert {share for *_, share in line.asked} == {0.55}


def test_every_partner_is_about_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many seeds each outsider, and each of one's own, is drawn about as often."""
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 1, 1])
    counts = torch.zeros(8, 8)
    for seed in range(1200):
        monkeypatch.setattr(mixed, "generator", lambda seed=seed: torch.Generator().manual_seed(seed))
        for first, second in mixed._pairs(labels):
            counts[first, second] += 1
    for one in range(8):
        for alike in (True, False):
            possible = [j for j in range(8) if j != one and bool(labels[j] == labels[one]) == alike]
            for other in possible:
                assert counts[one, other] == pytest.approx(1200 / len(possible), rel=0.2)
    assert counts.diagonal().sum() == 0


def test_wide_margin_beats_narrow_and_collapse_does_not_win() -> None:
    clusters = torch.tensor([-1.02, -1.0, -0.98, 0.98, 1.0, 1.02])
    score = {}
    for name, boundary in {"between": 0.0, "through a cluster": 1.0, "collapsed": -9.0}.items():
        line = Line(clusters, boundary)
        score[name] = mixval(line.logits(clusters), line)
    assert score["between"] == 1
    assert score["collapsed"] == 0.5
    assert score["through a cluster"] is not None and score["through a cluster"] < 1


def test_no_pairs_no_model_and_a_wrong_shape() -> None:
    line = Line(POINTS, 0.0)
    assert mixval(line.logits(POINTS), None) is None
    assert mixval(torch.ones(1, 2), line) == 0 and not line.asked
    with pytest.raises(ShapeError, match="mixed logits must be"):
        mixval(line.logits(POINTS), lambda first, second, share: torch.zeros(3, 2))


def test_the_same_pairs_every_time_and_no_global_draw() -> None:
    before = torch.random.get_rng_state()
    one, other = Line(POINTS, 0.5), Line(POINTS, 0.5)
    assert mixval(one.logits(POINTS), one) == mixval(other.logits(POINTS), other)
    assert one.asked == other.asked
    assert torch.equal(before, torch.random.get_rng_state())


def test_long_lists_are_probed_by_a_fixed_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "MOST_VIDEOS", 4)
    line = Line(POINTS, 0.0)
    mixval(line.logits(POINTS), line)
    assert len({first for first, *_ in line.asked}) == 4
    assert len(line.asked) == 8

"""Heads trained side by side: each as alone, a step by plain formulas, what is reported, given up, resumed."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from members import ADAPT, WARMSTART, Gym, Listener, largest_difference, last
from torch import Tensor

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.errors import RunError
from comix_fast.losses import classification_loss, comix_loss
from comix_fast.objectives import Terms
from comix_fast.stages.bank import feature_norms
from comix_fast.stages.batches import CHUNK, Drawn
from comix_fast.stages.stack import Member, Progressed, Stack, cosine_lr
from comix_fast.stages.stopping import Stop

pytestmark = pytest.mark.usefixtures("one_thread")

# Against training alone, in the largest weight. The same products are computed, so nothing is seen on the machines
# tried; what is allowed is what another order of adding up could make of it.
TOLERANCE = {"fp32": 1e-5, "bf16": 5e-3}
UNLIKE: list[dict[str, Any]] = [
    {"seed": 0},
    {"seed": 7, "lr": 0.03, "weight_decay": 0.01, "dropout": 0.3, "label_smoothing": 0.0},
    {"seed": 7, "lambda_bgm": 0.7, "temperature": 0.2, "momentum": 0.0},
    {"seed": 3, "lambda_tpl": 0.5, "pseudo_threshold": 0.4, "dropout": 0.0},
    {"seed": 11, "lr": 0.001, "lambda_bgm": 0.01, "pseudo_threshold": 0.9},
]


@pytest.fixture
def gym(make_cache: MakeCache) -> Gym:
    return Gym(FeatureCache(make_cache()))


def trained(*members: Member) -> list[tuple[Member, RunError]]:
    return Stack(members).train(Stop())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("phase", "mixing"), [(WARMSTART, True), (ADAPT, True), (ADAPT, False)])
def test_every_head_is_what_it_would_be_alone(gym: Gym, precision: str, phase: str, mixing: bool) -> None:
    given = [{"phase": phase, "precision": precision, "mixing": mixing} | numbers for numbers in UNLIKE]
    other_norms = feature_norms(gym.banks, "source")
    given[2]["norms"] = other_norms
    together = [gym.member(**numbers) for numbers in given]
    assert len({member.shape for member in together}) == 1
    assert trained(*together) == []
    for number, numbers in enumerate(given):
        alone = gym.member(**numbers)
        assert trained(alone) == []
        ours, theirs = last(together[number]), last(alone)
        assert largest_difference(ours.weights, theirs.weights) <= TOLERANCE[precision]
        assert ours.losses.keys() == theirs.losses.keys()
        for name, value in ours.losses.items():
            assert value == pytest.approx(theirs.losses[name], abs=TOLERANCE[precision]), name
        # It has learnt, and is not what the next one became.
        assert largest_difference(ours.weights, alone.head.state_dict()) > 0.01
        assert largest_difference(ours.weights, last(together[number - 1]).weights) > 0.01
    assert phase == WARMSTART or last(together[3]).losses["confident"] > 0


def loss_in_words(gym: Gym, member: Member, head: Any, iteration: int) -> Tensor:
    """What the recipe says of one iteration, from the draws on."""
    chunk, recipe = member.draws.chunk(0), member.recipe
    given = [
        gym.norms[stream.domain](stream.features.take(rows[iteration]))
        for stream, rows in zip(member.draws.streams, chunk.rows, strict=True)
    ]
    labels = chunk.labels[iteration]
    if chunk.slow is None:
        return classification_loss(head(given[0]), labels, recipe.label_smoothing)
    clips = chunk.slow[iteration].nonzero()[:, 0]
    numbers = ("lambda_bgm", "lambda_tpl", "pseudo_threshold", "temperature", "label_smoothing")
    return comix_loss(head, *given, labels, clips, **{name: getattr(recipe, name) for name in numbers}).total


@pytest.mark.parametrize("phase", [WARMSTART, ADAPT])
def test_a_step_is_sgd_with_momentum_decay_and_a_cosine(gym: Gym, phase: str) -> None:
    numbers = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.03, "dropout": 0.0, "lambda_tpl": 0.5}
    member = gym.member(5, phase, 4, report_every=1, pseudo_threshold=0.4, **numbers)
    head = copy.deepcopy(member.head)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in head.named_parameters()}
    assert trained(member) == []
    assert isinstance(member.reported, Listener)
    for iteration, report in enumerate(member.reported.reports):
        loss = loss_in_words(gym, member, head, iteration)
        gradients = torch.autograd.grad(loss, list(head.parameters()))
        rate = 0.05 * (1 + math.cos(math.pi * iteration / 4)) / 2
        with torch.no_grad():
            for (name, parameter), gradient in zip(head.named_parameters(), gradients, strict=True):
                velocity[name] = 0.8 * velocity[name] + gradient + 0.03 * parameter
                parameter.sub_(rate * velocity[name])
        assert report.losses["total"] == pytest.approx(loss.item(), rel=1e-5)
        assert largest_difference(report.weights, head.state_dict()) < 1e-6
        assert largest_difference(report.momentum, velocity) < 1e-5
    assert largest_difference(last(member).weights, member.head.state_dict()) > 0.01


def test_the_rate_falls_along_half_a_cosine() -> None:
    assert cosine_lr(0.01, 0, 100) == 0.01
    assert cosine_lr(0.01, 50, 100) == pytest.approx(0.005)
    assert cosine_lr(0.01, 25, 100) == pytest.approx(0.005 * (1 + math.sqrt(0.5)))
    assert cosine_lr(0.01, 100, 100) == pytest.approx(0.0)


def test_reports_hold_the_mean_since_the_last_one(gym: Gym) -> None:
    each = [gym.member(seed, iterations=7, report_every=1) for seed in (0, 1)]
    some = [gym.member(seed, iterations=7, report_every=3) for seed in (0, 1)]
    assert trained(*each) == trained(*some) == []
    for one, other in zip(each, some, strict=True):
        assert isinstance(one.reported, Listener)
        assert isinstance(other.reported, Listener)
        steps = one.reported.reports
        assert [report.iteration for report in steps] == list(range(1, 8))
        assert [report.iteration for report in other.reported.reports] == [3, 6, 7]
        for report, (first, end) in zip(other.reported.reports, ((0, 3), (3, 6), (6, 7)), strict=True):
            assert report.losses.keys() == {"cls", "bgm", "tpl", "total", "confident"}
            for name, value in report.losses.items():
                mean = sum(step.losses[name] for step in steps[first:end]) / (end - first)
                assert value == pytest.approx(mean, rel=1e-5, abs=1e-6)
            assert largest_difference(report.weights, steps[end - 1].weights) == 0
    assert last(each[0]).losses["total"] != last(each[1]).losses["total"]


def repeated(drawn: Drawn) -> Drawn:
    """A chunk whose iterations are all its first."""
    first = torch.zeros(CHUNK, dtype=torch.long)
    return Drawn(tuple(rows[first] for rows in drawn.rows), drawn.labels[first], None)


def test_dropout_is_decided_by_seed_phase_and_iteration(gym: Gym) -> None:
    def loss(iteration: int, **changes: Any) -> float:
        member = gym.member(**({"seed": 1, "phase": WARMSTART, "dropout": 0.5} | changes))
        return float(Stack([member]).step(iteration)["total"].detach())

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert loss(4) == loss(4)
    assert torch.equal(torch.rand(3), expected)
    one = gym.member(1, WARMSTART)
    # The draws are held still, so that what differs is dropout.
    assert loss(4, draws=one.draws) != loss(4, draws=one.draws, seed=2, head=one.head)
    assert loss(4, draws=one.draws, dropout=0.0) != loss(4, draws=one.draws)
    assert loss(4, draws=one.draws, phase="supervised 1") != loss(4, draws=one.draws, phase="supervised 2")
    # Both iterations draw alike, and dropout is all that differs.
    still = SimpleNamespace(streams=one.draws.streams, chunk=lambda number: repeated(one.draws.chunk(0)))
    assert loss(4, draws=still, dropout=0.0) == loss(5, draws=still, dropout=0.0)
    assert loss(4, draws=still) != loss(5, draws=still)


def test_a_head_whose_loss_is_not_finite_is_given_up_alone(gym: Gym) -> None:
    def well() -> list[Member]:
        return [gym.member(seed, iterations=20, report_every=5) for seed in (0, 2)]

    wild = gym.member(1, iterations=20, report_every=5, lr=1e30)
    good, without = well(), well()
    ((lost, error),) = trained(good[0], wild, good[1])
    assert lost is wild
    assert str(error).startswith("the loss is not finite after 5 iterations of adapt (seed 1)")
    assert "--lr" in str(error)
    assert wild.reported.reports == []  # type: ignore[attr-defined]
    assert trained(*without) == []
    for ours, theirs in zip(good, without, strict=True):
        assert last(ours).iteration == 20
        assert largest_difference(last(ours).weights, last(theirs).weights) <= TOLERANCE["fp32"]
        assert all(math.isfinite(value) for value in last(ours).losses.values())


def test_a_report_that_raises_gives_up_that_head(gym: Gym) -> None:
    def refuse(step: Progressed) -> None:
        if step.iteration == 10:
            raise RunError("no room")

    refused, other = Listener(refuse), Listener()
    members = [gym.member(seed, iterations=20, report_every=5, reported=r) for seed, r in ((0, refused), (1, other))]
    ((lost, error),) = trained(*members)
    assert lost is members[0]
    assert error.message == "no room"
    assert [report.iteration for report in refused.reports] == [5, 10]
    assert [report.iteration for report in other.reports] == [5, 10, 15, 20]
    with pytest.raises(ZeroDivisionError):
        trained(gym.member(iterations=2, reported=lambda *_: 1 // 0))


class Counted(Stack):
    """A stack that counts its steps."""

    steps = 0

    def step(self, iteration: int) -> Terms:
        self.steps += 1
        return super().step(iteration)


def test_when_all_are_given_up_nothing_goes_on(gym: Gym) -> None:
    stack = Counted([gym.member(seed, iterations=50, report_every=5, lr=1e30) for seed in (0, 1)])
    assert len(stack.train(Stop())) == 2
    assert stack.steps == 5


def test_a_stop_ends_between_two_iterations(gym: Gym) -> None:
    class After(Stop):
        """Set once it has been asked so often."""

        left = 7

        def is_set(self) -> bool:
            self.left -= 1
            return self.left < 0

    stack = Counted([gym.member(seed, iterations=20, report_every=5) for seed in (0, 1)])
    assert stack.train(After()) == []
    assert stack.steps == 7
    reports = [member.reported.reports for member in stack.members]  # type: ignore[attr-defined]
    assert [[report.iteration for report in some] for some in reports] == [[5], [5]]
    by_hand = Stack([gym.member(seed, iterations=20) for seed in (0, 1)])
    for iteration in range(7):
        by_hand.step(iteration)
    assert largest_difference(stack.heads.state_dict(), by_hand.heads.state_dict()) == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("phase", [WARMSTART, ADAPT])
def test_twenty_iterations_are_ten_and_ten_more(gym: Gym, phase: str, precision: str) -> None:
    numbers = [UNLIKE[0], UNLIKE[1], UNLIKE[4]]
    given = [{"phase": phase, "precision": precision, "iterations": 20, "report_every": 10} | n for n in numbers]
    whole = [gym.member(**one) for one in given]
    assert trained(*whole) == []
    resumed = []
    for member in whole:
        half = member.reported.reports[0]  # type: ignore[attr-defined]
        assert half.iteration == 10
        head = copy.deepcopy(member.head)
        head.load_state_dict(half.weights)
        resumed.append(replace(member, head=head, begin=10, momentum=half.momentum, reported=Listener()))
    before = [{name: buffer.clone() for name, buffer in member.momentum.items()} for member in resumed]
    assert trained(*resumed) == []
    for member, other, momentum in zip(resumed, whole, before, strict=True):
        assert largest_difference(last(member).weights, last(other).weights) == 0
        assert largest_difference(last(member).momentum, last(other).momentum) == 0
        assert last(member).losses == last(other).losses
        # What was given is not written into.
        assert largest_difference(member.momentum, momentum) == 0
    forgetful = replace(resumed[0], momentum={}, reported=Listener())
    trained(forgetful)
    assert largest_difference(last(forgetful).weights, last(whole[0]).weights) > 1e-4


def test_members_are_not_changed(gym: Gym) -> None:
    members = [gym.member(seed, iterations=3) for seed in (0, 1)]
    before = [copy.deepcopy(member.head.state_dict()) for member in members]
    trained(*members)
    for member, weights in zip(members, before, strict=True):
        assert largest_difference(member.head.state_dict(), weights) == 0

"""The step and the loop: the schedule, the optimiser against plain formulas, and what randomness they use."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from comix_fast.config import AdaptRecipe
from comix_fast.heads import TemporalGraph
from comix_fast.losses import LossTerms
from comix_fast.stages.training import accuracy, cosine_lr, new_optimiser, train, training_step


def terms(total: torch.Tensor) -> LossTerms:
    zero = torch.zeros(())
    return LossTerms(total, zero, zero, total)


def test_the_rate_falls_along_half_a_cosine() -> None:
    assert cosine_lr(0.01, 0, 100) == 0.01
    assert cosine_lr(0.01, 50, 100) == pytest.approx(0.005)
    assert cosine_lr(0.01, 25, 100) == pytest.approx(0.005 * (1 + math.sqrt(0.5)))
    assert cosine_lr(0.01, 100, 100) == pytest.approx(0.0)


def test_a_step_is_sgd_with_momentum_and_decay() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.01)
    value, velocity = 2.0, 0.0
    for step in range(3):
        rate = 0.1 / (step + 1)
        training_step(optimiser, lambda: terms((weight**2).sum()), rate)
        velocity = 0.9 * velocity + 2 * value + 0.01 * value
        value -= rate * velocity
        assert weight.item() == pytest.approx(value, rel=1e-5)


def losing(head: TemporalGraph, seen: list[float]) -> object:
    x = torch.randn(4, 16, 8, generator=torch.Generator().manual_seed(0))

    def loss(iteration: int) -> LossTerms:
        total = head(x).square().mean()
        seen.append(total.item())
        return terms(total)

    return loss


def run(begin: int, iterations: int, report_every: int) -> tuple[list[tuple[int, float]], list[float]]:
    torch.manual_seed(0)
    recipe = AdaptRecipe(hidden_dim=8)
    head = TemporalGraph(8, 8, 3, dropout=0.5)
    seen: list[float] = []
    steps = train(
        head,
        new_optimiser(head, recipe),
        losing(head, seen),  # type: ignore[arg-type]
        seed=1,
        phase="p",
        begin=begin,
        iterations=iterations,
        lr=0.1,
        report_every=report_every,
    )
    return [(step.iteration, step.losses["total"]) for step in steps], seen


def test_reports_hold_the_mean_since_the_last_one() -> None:
    reports, seen = run(0, 7, 3)
    assert [iteration for iteration, _ in reports] == [3, 6, 7]
    assert reports[0][1] == pytest.approx(sum(seen[:3]) / 3)
    assert reports[2][1] == pytest.approx(seen[6])


def test_dropout_is_decided_by_the_iteration_and_leaves_the_caller_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    assert run(4, 5, 1)[1] == run(4, 5, 1)[1]
    assert run(4, 5, 1)[1] != run(5, 6, 1)[1]
    torch.manual_seed(5)
    generator = train(
        head := TemporalGraph(8, 8, 3),
        new_optimiser(head, AdaptRecipe()),
        losing(head, []),  # type: ignore[arg-type]
        seed=0,
        phase="p",
        begin=0,
        iterations=2,
        lr=0.1,
        report_every=1,
    )
    torch.manual_seed(5)
    next(generator)
    assert torch.equal(torch.rand(3), expected)


def test_accuracy_counts_labelled_videos_alone() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 0.0], [0.0, 9.0]])
    assert accuracy(logits, torch.tensor([0, 0, -1, 1])) == pytest.approx(2 / 3)
    assert accuracy(logits, torch.full((4,), -1)) is None

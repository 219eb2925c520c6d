"""CORAL and MMD on what the last layer sees, or on a linear head's logits, against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_objectives import N_SOURCE, N_TARGET, by_video, cross_entropy, objective_of, one_batch, rows, some_head
from torch import Tensor

from comix_fast.objectives.both_domains import learns_features


def coral_by_loops(source: Tensor, target: Tensor) -> Tensor:
    apart = torch.cov(source.T) - torch.cov(target.T)
    total = source.new_zeros(())
    for row in apart:
        for value in row:
            total = total + value**2
    return total / (4 * source.shape[1] ** 2)


def mmd_by_loops(source: Tensor, target: Tensor) -> Tensor:
    everyone = [*source, *target]
    pairs = [(x - y).square().sum().item() for i, x in enumerate(everyone) for j, y in enumerate(everyone) if i != j]
    bandwidth = sum(pairs) / len(pairs)

    def kernel(one: Tensor, two: Tensor) -> Tensor:
        total = source.new_zeros(())
        for x in one:
            for y in two:
                for m in (0.25, 0.5, 1, 2, 4):
                    total = total + torch.exp(-(x - y).square().sum() / (m * bandwidth)) / 5
        return total / (len(one) * len(two))

    return kernel(source, source) + kernel(target, target) - 2 * kernel(source, target)


@pytest.mark.parametrize(("method", "by_loops"), [("coral", coral_by_loops), ("mmd", mmd_by_loops)])
@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_terms_are_those_of_plain_loops(kind: str, method: str, by_loops: Callable[[Tensor, Tensor], Tensor]) -> None:
    head = some_head(kind)
    batch = one_batch(head)
    terms = objective_of(method, head)(head, batch)
    factors = batch.dropped("", N_SOURCE + N_TARGET)
    ours = by_video(head, batch.source, rows(factors, 0, N_SOURCE))
    theirs = by_video(head, batch.target, rows(factors, N_SOURCE, N_TARGET))
    torch.testing.assert_close(terms["cls"], cross_entropy(ours[1], batch.labels, 0.1))
    part = 1 if kind == "linear" else 0
    wanted = by_loops(ours[part], theirs[part])
    torch.testing.assert_close(terms["align"], wanted)
    mine = torch.autograd.grad(terms["align"], head.parameters(), allow_unused=True)
    slow = torch.autograd.grad(wanted, head.parameters(), allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in mine)
    for one, two in zip(mine, slow, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("kind", "learns"), [("linear", False), ("mlp", True), ("graph", True)])
def test_which_heads_learn_features(kind: str, learns: bool) -> None:
    head = some_head(kind).train()
    state = torch.random.get_rng_state()
    with torch.no_grad():
        assert learns_features(head) is learns
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_covariances_distance_grows_with_the_fourth_power_of_the_scale_and_the_kernels_does_not() -> None:
    head = some_head("linear")
    batch = one_batch(head)
    distances = {}
    for scale in (1.0, 3.0):
        with torch.no_grad():
            head.weight.mul_(scale)
            head.bias.mul_(scale)
        distances[scale] = [objective_of(method, head)(head, batch)["align"].item() for method in ("coral", "mmd")]
    assert math.isclose(distances[3.0][0], 3**4 * distances[1.0][0], rel_tol=1e-9)
    assert math.isclose(distances[3.0][1], distances[1.0][1], rel_tol=1e-9)

"""DANN and MCD against plain loops: the values, and who climbs what the features descend."""

from __future__ import annotations

import math

import pytest
import torch
from small_objectives import (
    N_SOURCE,
    N_TARGET,
    by_video,
    cross_entropy,
    gradients,
    objective_of,
    one_batch,
    rows,
    some_head,
)
from torch import Tensor

from comix_fast.errors import ComixError
from comix_fast.heads import Head
from comix_fast.objectives import Batch
from comix_fast.objectives.dann import Dann
from comix_fast.objectives.mcd import Mcd


def both_domains(head: Head, batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    factors = batch.dropped("", N_SOURCE + N_TARGET)
    ours = by_video(head, batch.source, rows(factors, 0, N_SOURCE))
    return ours, by_video(head, batch.target, rows(factors, N_SOURCE, N_TARGET))


def domains_by_loops(dann: Dann, source: Tensor, target: Tensor) -> Tensor:
    losses = []
    for fed, sign in ((source, 1), (target, -1)):
        total = fed.new_zeros(())
        for row in fed:
            hidden = torch.clamp(row @ dann.first + dann.first_bias, min=0)
            odds = (hidden @ dann.last + dann.last_bias)[0]
            total = total - torch.log(1 / (1 + torch.exp(-sign * odds)))
        losses.append(total / len(fed))
    return (losses[0] + losses[1]) / 2


def disagreement_by_loops(head: Head, mcd: Mcd, features: Tensor) -> Tensor:
    total = features.new_zeros(())
    for row in features:
        one = torch.softmax(head.classify(row[None])[0], dim=0)
        two = torch.softmax(row @ mcd.weight + mcd.bias, dim=0)
        for c in range(len(one)):
            total = total + (one[c] - two[c]).abs() / len(one)
    return total / len(features)


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_the_domain_classifier_descends_what_the_features_climb(kind: str, progress: float) -> None:
    head = some_head(kind)
    batch = one_batch(head, progress=progress)
    dann = objective_of("dann", head)
    assert isinstance(dann, Dann)
    terms = dann(head, batch)
    ours, theirs = both_domains(head, batch)
    part = 1 if kind == "linear" else 0
    cls, apart = cross_entropy(ours[1], batch.labels, 0.1), domains_by_loops(dann, ours[part], theirs[part])
    torch.testing.assert_close(terms["cls"], cls)
    torch.testing.assert_close(terms["align"], apart)

    mine, its = dict(head.named_parameters()), dict(dann.named_parameters())
    reversed_ = 2 / (1 + math.exp(-10 * progress)) - 1
    found, of_cls, of_domains = (gradients(loss, mine) for loss in (terms["total"], cls, apart))
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, of_cls[name] - 0.7 * reversed_ * of_domains[name])
    assert any(gradient.any() for gradient in of_domains.values())
    found, wanted = gradients(terms["total"], its), gradients(apart, its)
    for name, gradient in found.items():
        assert gradient.any()
        torch.testing.assert_close(gradient, 0.7 * wanted[name])


def test_a_step_tells_domains_apart_and_one_of_the_head_mixes_them() -> None:
    """The classifier's own step lowers the domain loss, the features' own step raises it."""
    head = some_head()
    batch = one_batch(head, progress=0.9, numbers={"lambda_align": 1.0, "label_smoothing": 0.1})
    dann = objective_of("dann", head)
    for module, lower in ((dann, True), (head, False)):
        terms = dann(head, batch)
        moved = [value for name, value in module.named_parameters() if not name.startswith("last") or module is dann]
        steps = torch.autograd.grad(terms["total"] - terms["cls"], moved)
        with torch.no_grad():
            for parameter, step in zip(moved, steps, strict=True):
                parameter.sub_(step, alpha=1e-3)
            assert bool(dann(head, batch)["align"] < terms["align"]) is lower


@pytest.mark.parametrize("kind", ["mlp", "graph"])
def test_classifiers_climb_the_disagreement_that_features_descend(kind: str) -> None:
    head = some_head(kind)
    batch = one_batch(head)
    mcd = objective_of("mcd", head)
    assert isinstance(mcd, Mcd)
    terms = mcd(head, batch)
    (seen, logits), (features, _) = both_domains(head, batch)
    cls = cross_entropy(logits, batch.labels, 0.1)
    second = cross_entropy(seen @ mcd.weight + mcd.bias, batch.labels, 0.1)
    apart = disagreement_by_loops(head, mcd, features)
    torch.testing.assert_close(terms["cls"], cls)
    torch.testing.assert_close(terms["second"], second)
    torch.testing.assert_close(terms["align"], -apart)

    learnt = dict(head.named_parameters()) | {f"second.{name}": value for name, value in mcd.named_parameters()}
    above = ("second.", "last", "gc3.")
    found, of_source, of_apart = (gradients(loss, learnt) for loss in (terms["total"], cls + second, apart))
    for name, gradient in found.items():
        climbs = -0.7 if name.startswith(above) else 0.7
        torch.testing.assert_close(gradient, of_source[name] + climbs * of_apart[name])
        assert of_apart[name].any() or name in ("gc3.bias", "last_bias", "second.bias", "gc3.w_one", "gc3.w_two")


def test_mcd_refuses_a_head_without_features_and_says_what_to_choose() -> None:
    with pytest.raises(ComixError, match=r"a linear head learns no features\n.*--head mlp or --head graph"):
        objective_of("mcd", some_head("linear"))


@pytest.mark.parametrize("method", ["dann", "mcd"])
def test_the_seed_alone_decides_what_is_learnt_beside_the_head(method: str) -> None:
    heads = [some_head(seed=number) for number in range(3)]
    state = torch.random.get_rng_state()
    one, same, other = (objective_of(method, head, seed) for head, seed in zip(heads, (3, 3, 4), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in one.state_dict().items():
        assert value.any()
        assert torch.equal(value, same.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])


def test_weights_begin_within_their_bounds() -> None:
    dann = Dann.drawn(some_head(), seed=0, hidden=50)
    assert dann.first.shape == (6, 50)
    for parameter, n_inputs in ((dann.first, 6), (dann.first_bias, 6), (dann.last, 50), (dann.last_bias, 50)):
        assert parameter.abs().max().item() <= 1 / math.sqrt(n_inputs)
    assert dann.first.std().item() == pytest.approx(1 / math.sqrt(3 * 6), rel=0.1)


def test_what_the_domain_classifier_is_fed_is_told_by_its_kind() -> None:
    assert objective_of("dann", some_head("linear")).kind != objective_of("dann", some_head("mlp")).kind
    assert objective_of("coral", some_head("linear")).kind != objective_of("coral", some_head("mlp")).kind

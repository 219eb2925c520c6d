"""CoMix's objective calls its loss with what an iteration has drawn; the source's own is its cross-entropy."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_objectives import (
    N_SOURCE,
    N_TARGET,
    NUMBERS,
    batches,
    by_video,
    cross_entropy,
    of_head,
    one_batch,
    setting_of,
    some_head,
)

from comix_fast.config import AdaptRecipe
from comix_fast.errors import ShapeError
from comix_fast.losses import comix_loss
from comix_fast.objectives import Comix, SourceOnly, new_objective

PUBLISHED = ("lambda_bgm", "lambda_tpl", "pseudo_threshold", "temperature", "label_smoothing")


def chosen(**changes: object) -> Comix:
    recipe = AdaptRecipe(**({"lambda_bgm": 0.2, "lambda_tpl": 0.3} | changes))  # type: ignore[arg-type]
    objective = new_objective(recipe, setting_of(some_head()))
    assert isinstance(objective, Comix)
    return objective.double()


@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_source_only_is_its_cross_entropy(kind: str) -> None:
    head = some_head(kind)
    batch = dataclasses.replace(one_batch(head), target=None, slow=None)
    terms = SourceOnly()(head, batch)
    logits = by_video(head, batch.source, batch.dropped("", N_SOURCE))[1]
    torch.testing.assert_close(terms["total"], cross_entropy(logits, batch.labels, 0.1))
    assert torch.equal(terms["cls"], terms["total"])


@pytest.mark.parametrize(("bgm", "tpl", "mixed"), [(1, 1, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1)])
def test_terms_are_those_of_the_loss(bgm: int, tpl: int, mixed: int) -> None:
    head = some_head("graph")
    batch = one_batch(head)
    terms = chosen(lambda_bgm=0.2 * bgm, lambda_tpl=0.3 * tpl, mixing=bool(mixed))(head, batch)
    with_mixes = bool(bgm and mixed)
    numbers = {name: NUMBERS[name] for name in PUBLISHED}
    numbers |= {"lambda_bgm": 0.2 * bgm, "lambda_tpl": 0.3 * tpl}
    mixes = (batch.source_mixed, batch.target_mixed) if with_mixes else (None, None)
    dropped = batch.dropped("", 2 * (N_SOURCE + N_TARGET) * (1 + with_mixes))
    wanted = comix_loss(head, *batch.both, *mixes, batch.labels, batch.slow, **numbers, dropped=dropped)
    for name in ("cls", "bgm", "tpl", "total"):
        torch.testing.assert_close(terms[name], getattr(wanted, name))
    assert bool(terms["bgm"]) is bool(bgm)
    if wanted.pseudo is not None:
        assert terms["confident"].item() == pytest.approx(wanted.pseudo.confident.double().mean().item())
    assert ("confident" in terms) is bool(tpl)


def test_a_teacher_adds_what_it_says_and_follows() -> None:
    head = some_head()
    alone, taught = chosen(), chosen(lambda_teacher=0.4)
    assert alone.teacher is None
    assert taught.teacher is not None
    assert alone.kind != taught.kind
    batch = one_batch(head)
    before, after = alone(head, batch), taught(head, batch)
    torch.testing.assert_close(after["total"], before["total"] + 0.4 * after["teacher"])
    torch.testing.assert_close(after["teacher"], taught.teacher.loss(head, batch))
    shares = taught.teacher.running.clone()
    taught.after_step(head, batch)
    assert not torch.equal(taught.teacher.running, shares)


def test_several_heads_with_a_teacher_are_each_what_it_is_alone() -> None:
    heads = [some_head("mlp", seed) for seed in range(2)]
    objectives = [chosen(lambda_teacher=0.4).double() for _ in heads]
    joined, all_heads = Comix.side_by_side(objectives), type(heads[0]).side_by_side(heads).train()
    numbers = {"lambda_teacher": torch.tensor([0.4, 0.8]).double(), "lambda_bgm": torch.tensor([0.1, 0.2]).double()}
    for iteration in range(2):
        batch = batches(heads[0], 2, seed=iteration, numbers=numbers)
        terms = joined(all_heads, batch)
        joined.after_step(all_heads, batch)
        for number, (head, objective) in enumerate(zip(heads, objectives, strict=True)):
            alone = objective(head, of_head(batch, number))
            objective.after_step(head, of_head(batch, number))
            assert terms.keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(terms[name][number], value, atol=1e-9, rtol=0)


def test_what_is_missing_from_a_batch_is_named() -> None:
    head = some_head()
    with pytest.raises(ShapeError, match="slow view"):
        chosen()(head, dataclasses.replace(one_batch(head), slow=None))
    with pytest.raises(ShapeError, match="needs a batch of the target"):
        chosen()(head, dataclasses.replace(one_batch(head), target=None))


@pytest.mark.parametrize("method", ["source-only", "target-supervised"])
def test_methods_without_adaptation_have_no_objective_of_it(method: str) -> None:
    with pytest.raises(KeyError, match=method):
        new_objective(AdaptRecipe(method=method), setting_of(some_head()))  # type: ignore[arg-type]

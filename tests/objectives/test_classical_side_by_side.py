"""Every classical method for several heads at once: each learns what it would alone, and memory is shared."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_objectives import METHODS, batches, objective_of, of_head, one_batch, some_head

from comix_fast.errors import ShapeError
from comix_fast.objectives import Batch, Setting

CASES = [
    (method, kind) for method in METHODS for kind in ("linear", "mlp", "graph") if (method, kind) != ("mcd", "linear")
]


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(("method", "kind"), CASES)
def test_each_head_learns_what_it_does_alone(method: str, kind: str, mixed: bool) -> None:
    heads = [some_head(kind, seed) for seed in range(3)]
    singles = [objective_of(method, head, seed) for seed, head in enumerate(heads)]
    joined_heads, joined = type(heads[0]).side_by_side(heads).train(), type(singles[0]).side_by_side(singles).train()
    own = {
        "lambda_align": torch.tensor([0.1, 0.5, 2.0]).double(),
        "pseudo_threshold": torch.tensor([0.4, 0.6, 0.8]).double(),
        "label_smoothing": torch.tensor([0.0, 0.1, 0.2]).double(),
    }
    for iteration in range(2):
        batch = batches(heads[0], 3, seed=iteration, mixed=mixed, numbers=own)
        terms = joined(joined_heads, batch)
        assert all(value.shape == (3,) for value in terms.values())
        joined_heads.zero_grad()
        joined.zero_grad()
        terms["total"].sum().backward()
        joined.after_step(joined_heads, batch)
        for number, (head, objective) in enumerate(zip(heads, singles, strict=True)):
            alone = objective(head, of_head(batch, number))
            assert terms.keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(terms[name][number], value, atol=1e-9, rtol=0)
            head.zero_grad()
            objective.zero_grad()
            alone["total"].backward()
            objective.after_step(head, of_head(batch, number))
            for ours, theirs in ((joined_heads, head), (joined, objective)):
                for all_heads, mine in zip(ours.parameters(), theirs.parameters(), strict=True):
                    assert all_heads.grad is not None
                    assert mine.grad is not None
                    torch.testing.assert_close(all_heads.grad[number], mine.grad, atol=1e-9, rtol=0)
            for all_heads, mine in zip(joined.buffers(), objective.buffers(), strict=True):
                torch.testing.assert_close(all_heads[number], mine, atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_one_of_several_shares_their_memory(method: str) -> None:
    heads = [some_head("mlp", seed) for seed in range(2)]
    joined = type(objective_of(method, heads[0])).side_by_side([objective_of(method, head, 1) for head in heads])
    one = joined.single(1)
    assert one.kind == joined.kind
    assert one.training == joined.training
    for value in one.state_dict().values():
        value.fill_(7.0)
    for value in joined.state_dict().values():
        assert bool((value[1] == 7.0).all())
        assert not bool((value[0] == 7.0).any())
    for value in joined.state_dict().values():
        value[1] = 8.0
    assert all(bool((value == 8.0).all()) for value in one.state_dict().values())


@pytest.mark.parametrize("method", METHODS)
def test_an_iteration_follows_from_its_state_alone(method: str) -> None:
    head = some_head()
    objective = objective_of(method, head)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    batch = one_batch(head)
    first, second = objective(head, batch), objective(head, batch)
    for name, value in first.items():
        assert torch.equal(value, second[name])
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name])
    other = objective_of(method, head, seed=9)
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other(head, batch)["total"], first["total"])


@pytest.mark.parametrize("method", METHODS)
def test_the_total_is_the_sources_loss_and_the_weighed_term(method: str) -> None:
    head = some_head()
    terms = objective_of(method, head)(head, one_batch(head))
    wanted = terms["cls"] + terms.get("second", 0.0) + 0.7 * terms["align"]
    torch.testing.assert_close(terms["total"], wanted)
    assert terms["align"].item() != 0


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_without_target_is_refused(method: str) -> None:
    head = some_head()
    with pytest.raises(ShapeError, match="needs a batch of the target"):
        objective_of(method, head)(head, dataclasses.replace(one_batch(head), target=None))


def test_there_are_no_target_labels_to_read() -> None:
    labels = [field.name for field in dataclasses.fields(Batch) if "label" in field.name]
    assert labels == ["labels"]
    assert [field.name for field in dataclasses.fields(Setting)] == ["head", "prior", "logits", "seed"]
    head = some_head()
    batch = one_batch(head)
    assert batch.labels.shape == (len(batch.source),)

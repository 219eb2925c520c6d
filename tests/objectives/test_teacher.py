"""The averaged head, its aligned labels and its running shares, all by plain loops."""

from __future__ import annotations

import pytest
import torch
from small_objectives import N_TARGET, batches, by_video, drawn, of_head, one_batch, some_head
from torch import Tensor

from comix_fast.objectives import Teacher, wanted_shares
from comix_fast.objectives.teacher import RAMP

WANTED = torch.tensor([0.6, 0.3, 0.1], dtype=torch.double)
RUNNING = torch.tensor([0.2, 0.3, 0.5], dtype=torch.double)


def some_teacher(kind: str = "mlp", seed: int = 0, wanted: Tensor = WANTED) -> Teacher:
    return Teacher(some_head(kind, 20 + seed), wanted, RUNNING).double().train()


def test_wanted_shares_lie_between_the_prior_and_the_prediction() -> None:
    prior, predicted = torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])
    torch.testing.assert_close(wanted_shares(prior, predicted, 1.0), prior)
    torch.testing.assert_close(wanted_shares(prior, predicted, 0.0), predicted)
    # √(0.5 · 0.8) : √(0.5 · 0.2) is 2 : 1.
    torch.testing.assert_close(wanted_shares(prior, predicted, 0.5), torch.tensor([2 / 3, 1 / 3]))
    absent = wanted_shares(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]), 0.5)
    assert bool((absent > 0).all())
    assert absent.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_labels_are_aligned_predictions_and_the_head_learns_them(kind: str, mixed: bool, progress: float) -> None:
    head, teacher = some_head(kind), some_teacher(kind)
    batch = one_batch(head, mixed=mixed, progress=progress)
    loss = teacher.loss(head, batch)
    assert batch.target is not None
    given = by_video(teacher.head.eval(), batch.target, (None, None))[1]
    shown = batch.target if batch.target_mixed is None else batch.target_mixed
    said = by_video(head, shown, batch.dropped("teacher", N_TARGET))[1]
    wanted = said.new_zeros(())
    for video in range(N_TARGET):
        powers = torch.exp(given[video] / 0.4)
        label = [(p / powers.sum() * WANTED[c] / RUNNING[c]).item() for c, p in enumerate(powers)]
        for c, weight in enumerate(label):
            wanted = wanted - weight / sum(label) * (said[video, c] - said[video].logsumexp(dim=0)) / N_TARGET
    wanted = wanted * min(1.0, progress / RAMP)
    torch.testing.assert_close(loss, wanted)
    mine, slow = (torch.autograd.grad(value, head.parameters(), allow_unused=True) for value in (loss, wanted))
    for one, two in zip(mine, slow, strict=True):
        torch.testing.assert_close(one, two)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_weights_and_shares_follow_step_by_step() -> None:
    head, teacher = some_head(), some_teacher()
    average = [parameter.clone() for parameter in teacher.head.parameters()]
    running = RUNNING.tolist()
    for iteration in range(3):
        batch = one_batch(head, seed=iteration)
        teacher.loss(head, batch)
        assert teacher.running.tolist() == pytest.approx(running)
        given = torch.softmax(by_video(teacher.head.eval(), batch.target, (None, None))[1] / 0.4, dim=1)
        with torch.no_grad():
            for number, parameter in enumerate(head.parameters()):
                parameter.add_(drawn(*parameter.shape, seed=iteration))
                average[number] = 0.9 * average[number] + 0.1 * parameter
        teacher.follow(head, batch)
        running = [0.9 * old + 0.1 * new for old, new in zip(running, given.mean(dim=0).tolist(), strict=True)]
        assert teacher.running.tolist() == pytest.approx(running)
        for ours, theirs in zip(teacher.head.parameters(), average, strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach())
    assert torch.equal(teacher.wanted, WANTED)


def test_it_begins_as_a_copy_that_the_head_does_not_move() -> None:
    head = some_head()
    teacher = Teacher(head.double(), WANTED, RUNNING).double()
    before = [parameter.clone() for parameter in head.parameters()]
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(1.0)
    for ours, theirs in zip(teacher.head.parameters(), before, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0, check_dtype=False)


@pytest.mark.parametrize("kind", ["linear", "mlp", "graph"])
def test_several_teachers_are_each_what_it_is_alone(kind: str) -> None:
    heads = [some_head(kind, seed) for seed in range(3)]
    teachers = [some_teacher(kind, seed, WANTED.roll(seed)) for seed in range(3)]
    together, all_heads = Teacher.side_by_side(teachers), type(heads[0]).side_by_side(heads).train()
    own = {
        "teacher_temperature": torch.tensor([0.3, 0.6, 1.0]).double(),
        "teacher_momentum": torch.tensor([0.5, 0.9, 0.99]).double(),
    }
    for iteration in range(2):
        batch = batches(heads[0], 3, seed=iteration, numbers=own)
        losses = together.loss(all_heads, batch)
        together.follow(all_heads, batch)
        assert losses.shape == (3,)
        for number, (head, teacher) in enumerate(zip(heads, teachers, strict=True)):
            torch.testing.assert_close(losses[number], teacher.loss(head, of_head(batch, number)))
            teacher.follow(head, of_head(batch, number))
            for name, value in teacher.state_dict().items():
                torch.testing.assert_close(together.state_dict()[name][number], value)
    one = together.single(1)
    together.running.fill_(0.25)
    assert bool((one.running == 0.25).all())
    assert not any(parameter.requires_grad for parameter in one.parameters())

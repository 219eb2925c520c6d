"""Which heads share a stack, and stacks on threads: the same bytes, errors that reach the caller, nothing left over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from members import ADAPT, WARMSTART, Gym, Listener, largest_difference, last

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.errors import RunError
from comix_fast.stages.batches import SupervisedDraws
from comix_fast.stages.stack import Member, Progressed
from comix_fast.stages.together import MOST_ON_CPU, stacks_of, train_together


@pytest.fixture
def gym(make_cache: MakeCache) -> Gym:
    return Gym(FeatureCache(make_cache()))


@pytest.fixture(autouse=True)
def threads() -> Iterator[int]:
    """Torch computes with three threads, here and in new ones, before a test and after; no thread is left over."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    left = [torch.get_num_threads()]
    fresh = threading.Thread(target=lambda: left.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    torch.set_num_threads(before)
    assert left == [3, 3]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("stack")] == []


@pytest.mark.parametrize(
    ("count", "workers", "most", "sizes"),
    [
        (1, 2, 8, [1]),
        (2, 2, 8, [1, 1]),
        (5, 2, 8, [3, 2]),
        (5, 1, 8, [5]),
        (16, 2, 8, [8, 8]),
        (17, 2, 8, [6, 6, 5]),
        (3, 8, 8, [1, 1, 1]),
        (7, 2, 1, [1] * 7),
    ],
)
def test_stacks_are_about_equal(gym: Gym, count: int, workers: int, most: int, sizes: list[int]) -> None:
    members = [gym.member(seed) for seed in range(count)]
    stacks = list(stacks_of(members, workers, most))
    assert [len(stack) for stack in stacks] == sizes
    assert [id(member) for stack in stacks for member in stack] == [id(member) for member in members]


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_dim": 8},
        {"precision": "bf16"},
        {"batch_size": 4},
        {"iterations": 30},
        {"report_every": 5},
        {"begin": 10},
        {"lambda_tpl": 0.0},
        {"lambda_bgm": 0.0},
        {"mixing": False},
        {"phase": WARMSTART},
    ],
)
def test_heads_that_differ_in_shape_share_no_stack(gym: Gym, changes: dict[str, Any]) -> None:
    alike = [{}, {"seed": 4, "lr": 0.5, "lambda_bgm": 3.0, "temperature": 0.1}, {"dropout": 0.4, "momentum": 0.0}]
    members = [gym.member(**numbers) for numbers in (alike[0], changes, alike[1], changes, alike[2])]
    stacks = [[members.index(member) for member in stack] for stack in stacks_of(members, 1, 8)]
    assert stacks == [[0, 2, 4], [1, 3]]


def test_lists_whose_batches_differ_share_no_stack(gym: Gym) -> None:
    source = gym.banks.source
    members = []
    for number, size in enumerate((14, 15, 14)):
        part = source.subset(torch.arange(size))
        assert part.clips is source.clips
        draws = SupervisedDraws(part, 16, number, WARMSTART)
        members.append(gym.member(number, WARMSTART, 3, batch_size=16, draws=draws))
    assert [len(stack) for stack in stacks_of(members, 1, 8)] == [2, 1]
    assert train_together(members) == []
    assert all(last(member).iteration == 3 for member in members)


def some(gym: Gym) -> list[Member]:
    return [
        *(gym.member(seed, ADAPT, 12, report_every=4) for seed in range(4)),
        gym.member(0, WARMSTART, 10),
        gym.member(4, ADAPT, 12, report_every=4, precision="bf16"),
    ]


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_several_threads_give_the_bytes_of_one(gym: Gym, n_threads: int) -> None:
    one, several = some(gym), some(gym)
    torch.set_num_threads(1)
    assert train_together(one) == []
    torch.set_num_threads(n_threads)
    assert train_together(several) == []
    assert torch.get_num_threads() == n_threads
    torch.set_num_threads(3)
    for ours, theirs in zip(several, one, strict=True):
        assert [r.iteration for r in ours.reported.reports] == [r.iteration for r in theirs.reported.reports]  # type: ignore[attr-defined]
        assert largest_difference(last(ours).weights, last(theirs).weights) == 0
        assert last(ours).losses == last(theirs).losses


def test_threads_are_shared_out(gym: Gym) -> None:
    seen: list[tuple[str, int]] = []

    def look(step: Progressed) -> None:
        seen.append((threading.current_thread().name, torch.get_num_threads()))

    torch.set_num_threads(4)
    train_together([gym.member(seed, iterations=2, reported=Listener(look)) for seed in (0, 1)])
    assert {name.startswith("stack") for name, _ in seen} == {True}
    assert [count for _, count in seen] == [2, 2]
    torch.set_num_threads(3)
    seen.clear()
    # A head that trains alone has all threads, and stays on the caller's.
    train_together([gym.member(0, iterations=2, reported=Listener(look))])
    assert seen == [(threading.current_thread().name, 3)]


def test_nothing_to_train_is_nothing_given_up() -> None:
    assert train_together([]) == []


def test_heads_given_up_come_back_from_every_thread(gym: Gym) -> None:
    members = [gym.member(seed, iterations=10, report_every=5, lr=1e30 if seed % 2 else 0.01) for seed in range(6)]
    given = train_together(members)
    assert sorted(member.seed for member, _ in given) == [1, 3, 5]
    assert all(isinstance(error, RunError) and f"(seed {member.seed})" in str(error) for member, error in given)
    assert [last(member).iteration for member in members[::2]] == [10, 10, 10]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("place", [0, 2, 5])
def test_what_a_listener_raises_reaches_the_caller(gym: Gym, error: type[BaseException], place: int) -> None:
    def raising(step: Progressed) -> None:
        raise error

    members = [gym.member(seed, iterations=100_000, report_every=2) for seed in range(6)]
    members[place] = replace(members[place], reported=Listener(raising))
    with pytest.raises(error):
        train_together(members)
    assert len(members[place].reported.reports) == 1  # type: ignore[attr-defined]


def test_waiting_stacks_do_not_begin_after_an_interrupt(gym: Gym) -> None:
    def raising(step: Progressed) -> None:
        raise KeyboardInterrupt

    members = [gym.member(seed, iterations=50_000, report_every=20) for seed in range(5 * MOST_ON_CPU)]
    members[0] = replace(members[0], reported=Listener(raising))
    assert len(list(stacks_of(members, 3, MOST_ON_CPU))) == 5
    with pytest.raises(KeyboardInterrupt):
        train_together(members)
    begun = [bool(member.reported.reports) for member in members]  # type: ignore[attr-defined]
    assert not any(begun[3 * MOST_ON_CPU :])


def test_ctrl_c_while_waiting_stops_every_stack(gym: Gym) -> None:
    main = threading.main_thread()
    assert threading.current_thread() is main
    assert main.ident is not None

    def press(step: Progressed) -> None:
        if step.iteration == 4:
            signal.pthread_kill(main.ident or 0, signal.SIGINT)

    members = [gym.member(seed, iterations=100_000, report_every=2) for seed in range(3)]
    members[1] = replace(members[1], reported=Listener(press))
    with pytest.raises(KeyboardInterrupt):
        train_together(members)
    assert all(last(member).iteration < 100_000 for member in members if member.reported.reports)  # type: ignore[attr-defined]

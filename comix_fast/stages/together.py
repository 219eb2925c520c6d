"""Heads on the machine's cores: which train side by side in one stack, and which stacks at the same time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import torch

from comix_fast.errors import RunError
from comix_fast.stages.stack import Member, Stack
from comix_fast.stages.stopping import Stop

MOST_ON_CPU, MOST_ON_CUDA = 8, 32
"""Heads in one stack: beyond these nothing is gained, and their weights leave the processor's cache."""

Given = list[tuple[Member, RunError]]


def train_together(members: Sequence[Member], of_heads: int | None = None, stop: Stop | None = None) -> Given:
    """Trains every member to its end, or until `stop` is set; returns those given up, each with the reason.

    of_heads: how many heads the whole command trains, these among them; None: just these. On a CPU it decides how many
    torch threads a stack has, as many stacks training at the same time as there are threads for: two cores that work
    on two stacks wait for each other far less than two that share every small operation. A command's only head has
    all threads. The number of threads decides a float's last bits, so it hangs on nothing that an interruption
    changes; who trains beside a head decides none on a CPU. On CUDA a product of more heads may round otherwise.
    """
    if not members:
        return []
    on_cuda = members[0].head.device.type == "cuda"
    n_threads = 1 if on_cuda else torch.get_num_threads()
    each = max(1, n_threads // min(n_threads, of_heads or len(members)))
    n_workers = n_threads // each
    stacks = list(stacks_of(members, n_workers, MOST_ON_CUDA if on_cuda else MOST_ON_CPU))
    stop = stop or Stop()
    if each == n_threads:
        return [given for stack in stacks for given in Stack(stack).train(stop)]
    return _in_threads(stacks, stop, min(n_workers, len(stacks)), each, n_threads)


def stacks_of(members: Sequence[Member], n_workers: int, most: int) -> Iterator[list[Member]]:
    """Members of one shape in stacks of about equal size: at least one for each worker, none of more than `most`."""
    groups: dict[object, list[Member]] = {}
    for member in members:
        groups.setdefault(member.shape, []).append(member)
    for group in groups.values():
        n_stacks = max(min(n_workers, len(group)), math.ceil(len(group) / most))
        short, longer = divmod(len(group), n_stacks)
        first = 0
        for number in range(n_stacks):
            size = short + (number < longer)
            yield group[first : first + size]
            first += size


def _in_threads(stacks: Sequence[Sequence[Member]], stop: Stop, n_workers: int, each: int, n_threads: int) -> Given:
    try:
        with ThreadPoolExecutor(n_workers, "stack", initializer=torch.set_num_threads, initargs=(each,)) as pool:
            running = [pool.submit(lambda some: Stack(some).train(stop), stack) for stack in stacks]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                # Ctrl-C, or an error in one stack: the others end at their next iteration, the waiting ones at once.
                if not all(future.done() for future in running) or any(future.exception() for future in running):
                    stop.set()
            return [given for future in running for given in future.result()]
    finally:
        # The setting is each thread's own, but new threads take the last one that was made.
        torch.set_num_threads(n_threads)

"""The queues and threads that stage one is made of: bounded, in order, gone at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from threads import no_thread_left

from comix_fast.stages.pipeline_ahead import Ahead, Check
from comix_fast.stages.pipeline_channel import Channel, Closed
from comix_fast.stages.pipeline_workers import Workers


def test_work_ahead_is_bounded_and_in_order() -> None:
    begun: list[int] = []

    def produce(job: int, check: Check) -> Iterator[str]:
        begun.append(job)
        for part in range(job % 3):
            yield f"{job}.{part}"

    with no_thread_left(), Ahead(range(100), produce, 2, held=2) as ahead:
        taken = iter(ahead)
        assert next(taken)[0] == 0
        time.sleep(0.1)
        # Two threads at work, three jobs waiting, one taken.
        assert len(begun) <= 6
        rest = [(job, list(items)) for job, items in taken]
    assert rest == [(job, [f"{job}.{part}" for part in range(job % 3)]) for job in range(1, 100)]


def test_errors_of_one_job_are_its_own() -> None:
    def produce(job: int, check: Check) -> Iterator[int]:
        yield job
        if job == 2:
            raise ValueError("two")

    with no_thread_left(), Ahead(range(4), produce, 3, held=1) as ahead:
        for job, items in ahead:
            assert next(items) == job
            if job == 2:
                with pytest.raises(ValueError, match="two"):
                    next(items)
            else:
                assert next(items, None) is None


def test_work_that_nobody_waits_for_is_dropped() -> None:
    endless = threading.Event()

    def produce(job: int, check: Check) -> Iterator[int]:
        while True:
            check()
            endless.set()
            yield job

    with no_thread_left(), Ahead(range(4), produce, 3, held=1):
        assert endless.wait(10)


def test_a_closed_channel_wakes_both_sides() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    ended: list[str] = []

    def closed(call: Callable[[], object], name: str) -> threading.Thread:
        def run() -> None:
            try:
                call()
            except Closed:
                ended.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    waiting = closed(lambda: channel.put(2), "put")
    time.sleep(0.02)
    channel.close()
    waiting.join(10)
    taking = closed(lambda: next(iter(channel)), "take")
    taking.join(10)
    assert ended == ["put", "take"]


def test_workers_tell_of_every_piece_once() -> None:
    seen: list[int] = []
    told: list[str] = []
    with no_thread_left(), Workers(lambda: seen.append, 3, 1) as workers:
        for piece in range(50):
            told += workers.put(piece, f"piece {piece}")
        while more := workers.some():
            told += more
    assert sorted(seen) == list(range(50))
    assert sorted(told) == sorted(f"piece {piece}" for piece in range(50))

"""Threads that work ahead on the next videos, their results taken in the videos' order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from comix_fast.stages.pipeline_channel import Channel, Closed
from comix_fast.stages.pipeline_threads import join_all, start_all, threads_of

Job = TypeVar("Job")
Item = TypeVar("Item")
Check = Callable[[], None]
"""To be called now and then by long work: raises Closed once nobody waits for it."""


class Ahead(Generic[Job, Item]):
    """Runs `produce` on each job, `threads` jobs at a time; used in a `with`, at whose end no thread is left.

    jobs: taken one by one, as threads become free, never more than threads + 1 ahead of what has been asked for, or
    `ahead` where that is more.
    produce: gives the items of a job, one after another; what it raises reaches whoever takes the job's items.
    held: items of one job that may wait to be taken.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        produce: Callable[[Job, Check], Iterator[Item]],
        threads: int,
        held: int,
        name: str = "comix-decode",
        ahead: int = 0,
    ) -> None:
        self._jobs = iter(jobs)
        self._produce = produce
        self._held = held
        self._order: Channel[tuple[Job, Channel[Item]]] = Channel(max(threads + 1, ahead))
        self._taking = threading.Lock()
        self._listing = threading.Lock()
        self._lanes: set[Channel[Item]] = set()
        self._stopped = threading.Event()
        self._threads = threads_of(self._work, name, threads)

    def __enter__(self) -> Self:
        start_all(self._threads, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopped.set()
        self._order.close()
        with self._listing:
            for lane in self._lanes:
                lane.close()
        join_all(self._threads)

    def __iter__(self) -> Iterator[tuple[Job, Iterator[Item]]]:
        """Each job and its items, in the order of the jobs. Raises what taking the next job raises."""
        for job, lane in self._order:
            yield job, iter(lane)
            with self._listing:
                self._lanes.discard(lane)
            lane.close()

    def check(self) -> None:
        """Raises Closed once the work is of no more use."""
        if self._stopped.is_set():
            raise Closed

    def _work(self) -> None:
        try:
            while (taken := self._next()) is not None:
                self._fill(*taken)
        except Closed:
            return

    def _next(self) -> tuple[Job, Channel[Item]] | None:
        """The next job and an empty lane for its items. The lock makes lanes stand in the order of the jobs."""
        with self._taking:
            try:
                job = next(self._jobs)
            except StopIteration:
                self._order.end()
                return None
            except BaseException as error:
                self._order.end(error)
                return None
            lane: Channel[Item] = Channel(self._held)
            with self._listing:
                self.check()
                self._lanes.add(lane)
            self._order.put((job, lane))
            return job, lane

    def _fill(self, job: Job, lane: Channel[Item]) -> None:
        try:
            for item in self._produce(job, self.check):
                lane.put(item)
        except Closed:
            self.check()
        except BaseException as error:
            lane.end(error)
        else:
            lane.end()

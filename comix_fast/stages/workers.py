"""A crew of processes of this machine: `comix extract --workers N`.

    coordinator ──a block: ids, paths, numbers──▶ workers ──features──▶ shards
                ◀──how far, what failed────────

The coordinator holds the cache's lock and shares it with its workers, so that nobody else writes while one of them
lives. A worker that is lost is replaced, and its block given again; what a video may cost that way, Attempts says.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch

from comix_fast.cache.format import SURVEYS
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.console import Advance, Reporter
from comix_fast.errors import ComixError
from comix_fast.stages.attempts import MOST_TRIES, Attempts
from comix_fast.stages.block_worker import Setup, block_to_json, error_from_json
from comix_fast.stages.blocks import Block
from comix_fast.stages.crew import Done
from comix_fast.stages.planning import Planner
from comix_fast.stages.survey import Failure
from comix_fast.stages.worker_child import COMMAND, Child, heard

MOST_FRUITLESS = 100
"""Workers that may be lost one after another without anything being done in between. A block of 32 videos that all end
their workers costs 96."""

Work = Literal["survey", "extract"]


@dataclass
class _Task:
    """A block to be done. size: in units of progress; told: how many of them have been reported, now: how many the
    attempt under way has done; last: how the last worker ended; done: what came of it."""

    block: Block
    size: int
    told: int = 0
    now: int = 0
    last: str = ""
    done: Done | None = None

    def advance(self, more: int, advance: Advance) -> None:
        """What a lost worker has done is not told twice."""
        self.now += more
        if self.now > self.told:
            advance(self.now - self.told)
            self.told = self.now

    def end(self, done: Done, advance: Advance) -> None:
        """Progress comes to the block's end, whatever failed."""
        self.done = done
        self.advance(max(0, self.size - self.now), advance)


@dataclass
class _Worker:
    """A process. slot: its place among those that live; number: like no other's; asked, ready: for what work."""

    child: Child
    slot: int
    number: int
    cache: CacheWriter
    asked: Work = "survey"
    ready: Work | None = None
    task: _Task | None = None
    fell: str = ""

    def end(self) -> None:
        """Leaves neither a process nor half a file."""
        self.child.end()
        self.cache.sweep(self.number)


class Workers:
    """Does blocks in processes of this machine, as a Crew; used in a `with`, at whose end none of them is left.

    setup: as for one worker that has the machine to itself: its threads are shared out, and all GPUs are used where
        its device is "cuda" without a number.
    n_workers: processes at most; no more are started than there are blocks.
    command: what a worker is started with.
    """

    def __init__(self, setup: Setup, n_workers: int, command: Sequence[str] = COMMAND) -> None:
        self._setup, self._n_workers, self._command = setup, n_workers, command
        self._devices = devices_of(setup.device)
        self._numbers = itertools.count()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._workers:
            self._workers[-1].end()
            self._workers.pop()

    def survey(
        self, cache: CacheWriter, blocks: Sequence[Block], reporter: Reporter, folder: str = SURVEYS
    ) -> list[Failure]:
        """As Crew.survey. Raises ComixError where workers can't be started, or are lost without end."""
        tasks = [_Task(block, len(block.videos)) for block in blocks]
        with reporter.progress("surveying videos", sum(task.size for task in tasks), "videos") as advance:
            return self._do(_Shift("survey", cache, tasks, advance, reporter, {"folder": folder})).failures

    def extract(self, cache: CacheWriter, blocks: Sequence[Block], surveys: Surveys, reporter: Reporter) -> Done:
        """As Crew.extract. It is the last thing asked of a crew: the workers are ended. Raises as `survey` does."""
        planner = Planner(self._setup.job.recipe, self._setup.job.donors, surveys)
        tasks = [_Task(block, sum(map(planner.n_clips, block.videos))) for block in blocks]
        with self, reporter.progress("extracting features", sum(task.size for task in tasks), "clips") as advance:
            return self._do(_Shift("extract", cache, tasks, advance, reporter, {}))

    def _do(self, shift: _Shift) -> Done:
        with Attempts.of(shift.cache) as attempts, contextlib.ExitStack() as failing:
            failing.enter_context(self)
            while not shift.over:
                self._staff(shift)
                for worker in self._workers:
                    shift.keep_busy(worker, attempts)
                children = {id(worker.child): worker for worker in self._workers}
                for child, answers, last in heard([worker.child for worker in self._workers]):
                    worker = children[id(child)]
                    for answer in answers:
                        shift.take(worker, answer, attempts)
                    if last:
                        self._workers.remove(worker)
                        shift.lose(worker)
            failing.pop_all()
        return shift.result()

    def _staff(self, shift: _Shift) -> None:
        """Starts workers for the blocks that are left, as many as are wanted at once."""
        n_workers = min(self._n_workers, len(shift.tasks))
        threads = max(1, self._setup.threads // n_workers)
        while len(self._workers) < min(n_workers, shift.n_left):
            slot = next(slot for slot in itertools.count() if all(worker.slot != slot for worker in self._workers))
            worker = _Worker(Child(self._command, threads, shift.cache.locks), slot, next(self._numbers), shift.cache)
            self._workers.append(worker)
            setup = replace(self._setup, threads=threads, device=self._devices[slot % len(self._devices)])
            worker.child.tell({"setup": setup.to_json(), "number": worker.number})


class _Shift:
    """One kind of work on some blocks: who does which, what came of it.

    more: what every order of this kind says beside the block.
    """

    def __init__(
        self,
        work: Work,
        cache: CacheWriter,
        tasks: Sequence[_Task],
        advance: Advance,
        reporter: Reporter,
        more: Mapping[str, Any],
    ) -> None:
        self.cache, self.tasks = cache, tasks
        self._work, self._advance, self._reporter, self._more = work, advance, reporter, more
        self._waiting = deque(tasks)
        self._unready = self._fruitless = 0

    @property
    def n_left(self) -> int:
        """Blocks that are not done."""
        return sum(task.done is None for task in self.tasks)

    @property
    def over(self) -> bool:
        """Whether all blocks are done."""
        return not self.n_left

    def keep_busy(self, worker: _Worker, attempts: Attempts) -> None:
        """Gives a worker that waits its next block, or has it made ready for such work."""
        if worker.task is not None or worker.ready != worker.asked or not self._waiting:
            return
        if self._work == "extract" and worker.ready == "survey":
            worker.asked = "extract"
            worker.child.tell({"load": True})
            return
        task = worker.task = self._waiting.popleft()
        task.now = 0
        orders = attempts.begin(task.block, task.last)
        told = {"one_at_a_time": orders.one_at_a_time, "given_up": dict(orders.given_up)}
        order = {self._work: block_to_json(task.block), "attempts": str(attempts.folder), "orders": told}
        worker.child.tell({**order, **self._more})

    def take(self, worker: _Worker, answer: Mapping[str, Any], attempts: Attempts) -> None:
        """What a worker has to say. Raises its error if that ends the run."""
        if "error" in answer:
            raise error_from_json(answer["error"])
        if "ready" in answer:
            worker.ready = worker.asked
            if worker.ready == self._work:
                self._unready = 0
        worker.fell = answer.get("fell", worker.fell)
        if worker.task is not None and "advance" in answer:
            worker.task.advance(answer["advance"], self._advance)
            self._fruitless = 0
        if worker.task is not None and "done" in answer:
            attempts.end(worker.task.block)
            worker.task.end(Done(**answer["done"]), self._advance)
            worker.task = None

    def lose(self, worker: _Worker) -> None:
        """A worker has died: its block waits again. Raises ComixError if it looks as if that would go on for ever."""
        reason = worker.fell or worker.child.ending()
        worker.end()
        self._reporter.say(f"a worker has ended ({reason}); another one takes its place")
        if worker.ready != worker.asked:
            self._unready += 1
            if self._unready == MOST_TRIES:
                raise ComixError(
                    f"workers can't be started: {reason}",
                    hint="try --workers 1; if memory is short, fewer workers or a smaller --batch-size help",
                )
        if worker.task is not None:
            worker.task.last = reason
            self._waiting.appendleft(worker.task)
        self._fruitless += 1
        if self._fruitless == MOST_FRUITLESS:
            raise ComixError(
                f"{MOST_FRUITLESS} workers have ended, one after another, before anything was done: {reason}",
                hint="try --workers 1; what is finished is kept",
            )

    def result(self) -> Done:
        """What came of all blocks, the failures in the order of the videos."""
        every = [task.done for task in self.tasks if task.done is not None]
        place = {video.id: number for task in self.tasks for number, video in enumerate(task.block.videos)}
        result = Done(sum(done.n_videos for done in every), sum(done.n_clips for done in every))
        for done in every:
            result.failures += sorted(done.failures, key=lambda failure: place[failure["id"]])
        return result


def devices_of(device: str) -> list[str]:
    """The devices that workers take turns at: every GPU there is for "cuda", else the one that is named."""
    if device != "cuda":
        return [device]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or [device]

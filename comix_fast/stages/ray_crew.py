"""A crew of Ray actors, on a cluster or on this machine: `comix extract --engine ray`.

    coordinator ──rows: ids, paths, numbers──▶ Ray Data: a pool of actors ──features──▶ the cache's shared folder
                ◀──rows: counts, failures────

Surveys are one pipeline and features another, since no donor is known before all surveys are done. In each, one block
of ours is one block of Ray's, and what an actor writes hangs on its block alone: order and restarts change no byte.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

import torch

from comix_fast.cache.format import SURVEYS
from comix_fast.cache.parts import PARTS
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.console import Advance, Reporter
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages.attempts import Attempts
from comix_fast.stages.block_worker import Setup, error_from_json
from comix_fast.stages.blocks import Block
from comix_fast.stages.crew import Done
from comix_fast.stages.planning import Planner
from comix_fast.stages.ray_actor import (
    EXPECTED,
    SEEN_WITHIN,
    Answer,
    BlockActor,
    Told,
    Work,
    answers_in,
    block_table,
    survey_names,
)
from comix_fast.stages.ray_session import connected, last_line, nodes
from comix_fast.stages.survey import Failure


class RayCrew:
    """Does blocks by Ray actors, as a Crew; used in a `with`, at whose end a Ray that it started is gone.

    setup: as for one worker that has the machine to itself: on this machine its threads are shared out; on a cluster
        they are the most that an actor takes. A device of "cuda" gives each actor a GPU of its own.
    n_workers: actors at most; None: all that the CPUs or GPUs of the cluster can carry, on this machine one. No more
        are started than there are blocks.
    address: as `connected` takes it. debug: Ray's logs go to stderr.
    actor: what does the blocks.

    Nothing to do connects to nothing. Raises ComixError for a device with a number: Ray gives out the GPUs.
    """

    def __init__(
        self,
        setup: Setup,
        n_workers: int | None = None,
        address: str | None = None,
        *,
        debug: bool = False,
        actor: type[BlockActor] = BlockActor,
    ) -> None:
        if torch.device(setup.device).index is not None:
            raise ComixError(
                f"--engine ray gives out the GPUs itself, and can't be held to {setup.device}",
                hint="give --device cuda; CUDA_VISIBLE_DEVICES narrows what there is",
            )
        self._setup = replace(setup, root=setup.root.absolute())
        self._n_workers, self._address, self._debug, self._actor = n_workers, address, debug, actor
        self._open = contextlib.ExitStack()
        self._ray: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray = None
        self._open.close()

    def survey(
        self, cache: CacheWriter, blocks: Sequence[Block], reporter: Reporter, folder: str = SURVEYS
    ) -> list[Failure]:
        """As Crew.survey. Raises ComixError where actors can't be started or Ray gives up."""
        sizes = [len(block.videos) for block in blocks]
        done = self._do("survey", cache, blocks, sizes, reporter, folder)
        unreadable = {one["id"] for one in done.failures}
        found = {video.id for block in blocks for video in block.videos} - unreadable
        _wait_until_seen(cache, found, None if folder == SURVEYS else folder)
        return done.failures

    def extract(self, cache: CacheWriter, blocks: Sequence[Block], surveys: Surveys, reporter: Reporter) -> Done:
        """As Crew.extract. Raises as `survey` does."""
        planner = Planner(self._setup.job.recipe, self._setup.job.donors, surveys)
        sizes = [sum(map(planner.n_clips, block.videos)) for block in blocks]
        return self._do("extract", cache, blocks, sizes, reporter, SURVEYS)

    def _do(
        self,
        work: Work,
        cache: CacheWriter,
        blocks: Sequence[Block],
        sizes: Sequence[int],
        reporter: Reporter,
        folder: str,
    ) -> Done:
        """One pipeline over all blocks. sizes: of the blocks, in units of progress."""
        ray = self._connected()
        actors, threads = self._actors(ray, reporter)
        what, unit = ("surveying videos", "videos") if work == "survey" else ("extracting features", "clips")
        # The numbers of donors' blocks come again; here each is a place in `blocks`.
        placed = [replace(block, number=place) for place, block in enumerate(blocks)]
        with Attempts.of(cache) as attempts, contextlib.ExitStack() as leaving:
            leaving.callback(_sweep, cache, attempts)
            # Actors that are interrupted must be gone before what they left is swept.
            failing = leaving.enter_context(contextlib.ExitStack())
            failing.enter_context(self)
            if work == "extract":
                names = survey_names(cache.root, _survey_folders(cache))
                (attempts.folder / EXPECTED).write_text("\n".join(names), encoding="utf-8")
            told = Told(replace(self._setup, threads=threads).to_json(), work, folder, str(attempts.folder.absolute()))
            with reporter.progress(what, sum(sizes), unit) as advance:
                tally = _Tally(placed, sizes, attempts, reporter, advance)
                for answer in self._answers(ray, told, placed, min(actors, len(placed))):
                    tally.take(answer)
                done = tally.done()
            failing.pop_all()
        return done

    def _answers(self, ray: Any, told: Told, blocks: Sequence[Block], n_actors: int) -> Iterator[Answer]:
        """What comes of each block, in any order.

        Ray Data starts a dead actor again and gives it its block again, both without end (its max_restarts and
        max_task_retries are -1 for pools of actors). So it must stay: with less, a dead actor keeps its place in a
        pool of fixed size, and the pipeline waits for it for ever. The end is Attempts' to set, which each new actor
        asks first. An actor takes one block at a time, so that no block waits behind another while actors are idle.
        from_blocks is what promises to leave the blocks as they are; it also looks at them here and starts no tasks.
        """
        gpu = torch.device(self._setup.device).type == "cuda"
        pool = ray.data.ActorPoolStrategy(
            min_size=1, max_size=n_actors, initial_size=n_actors, max_tasks_in_flight_per_actor=1
        )
        try:
            pipeline = ray.data.from_blocks(_Tables(blocks)).map_batches(
                self._actor,
                batch_size=None,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=told.setup["threads"],
                num_gpus=1 if gpu else 0,
                fn_constructor_args=(json.dumps(asdict(told)),),
            )
            for table in pipeline.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                yield from answers_in(table)
        except ray.exceptions.RayError as error:
            raise ComixError(
                f"Ray has given up: {last_line(error)}",
                hint="what is finished is kept, and the same command goes on; --debug shows all that Ray says",
            ) from error

    def _connected(self) -> Any:
        if self._ray is None:
            n_local = (self._n_workers or 1) * self._local_threads()
            self._ray = self._open.enter_context(connected(self._address, n_local, self._debug))
            context = self._ray.data.DataContext.get_current()
            context.enable_progress_bars = False
        return self._ray

    def _local_threads(self) -> int:
        return max(1, self._setup.threads // (self._n_workers or 1))

    def _actors(self, ray: Any, reporter: Reporter) -> tuple[int, int]:
        """How many actors, and threads of each."""
        gpu = torch.device(self._setup.device).type == "cuda"
        able = [node for node in nodes(ray) if node.gpus or not gpu]
        if not able:
            reporter.warn(f"no node of the Ray cluster has {'a GPU' if gpu else 'CPUs'} now; waiting for one")
            return self._n_workers or 1, self._setup.threads
        most = min(max(1, node.cpus // node.gpus) if gpu else node.cpus for node in able)
        threads = min(most, self._setup.threads, *([self._local_threads()] if len(able) == 1 else []))
        room = sum(node.gpus if gpu else node.cpus // threads for node in able)
        return self._n_workers or room, threads


class _Tables(Sequence[Any]):
    """The blocks as tables, made when they are asked for: a million videos as tables at once are half a gigabyte."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, place: Any) -> Any:
        return block_table(self._blocks[place])


class _Tally:
    """What has come of the blocks so far. blocks: each one's number is its place among them."""

    def __init__(
        self,
        blocks: Sequence[Block],
        sizes: Sequence[int],
        attempts: Attempts,
        reporter: Reporter,
        advance: Advance,
    ) -> None:
        self._blocks, self._sizes, self._attempts = blocks, sizes, attempts
        self._reporter, self._advance = reporter, advance
        self._answers: dict[int, Answer] = {}

    def take(self, answer: Answer) -> None:
        """Raises the error that it may be. A block that comes twice counts once."""
        if answer.error is not None:
            raise error_from_json(answer.error)
        if answer.block in self._answers:
            return
        self._answers[answer.block] = answer
        block = self._blocks[answer.block]
        self._attempts.end(block)
        if answer.retried:
            self._reporter.say(f"a worker was lost over {len(block.videos)} videos; another one has taken its place")
        self._advance(self._sizes[answer.block])

    def done(self) -> Done:
        """What came of all, the failures in the order of the videos. Raises ComixError if a block is missing."""
        missing = len(self._blocks) - len(self._answers)
        if missing:
            raise ComixError(
                f"Ray has lost {missing:,} of {len(self._blocks):,} blocks of videos",
                hint="what is finished is kept; the same command goes on from there",
            )
        result = Done()
        for block in self._blocks:
            answer = self._answers[block.number]
            result.n_videos += answer.n_videos
            result.n_clips += answer.n_clips
            paths = {video.id: (place, str(video.path)) for place, video in enumerate(block.videos)}
            listed = sorted(answer.failures, key=lambda one: paths[one["id"]][0])
            # As listed: a node knows paths from the root on.
            result.failures += [{**one, "path": paths[one["id"]][1]} for one in listed]
        return result


def _survey_folders(cache: CacheWriter) -> tuple[str, ...]:
    return (SURVEYS,) if cache.part is None else (f"{PARTS}/{cache.part.name}", SURVEYS)


def _sweep(cache: CacheWriter, attempts: Attempts) -> None:
    """Removes what actors that died had under way."""
    for mark in attempts.folder.glob("worker-*"):
        cache.sweep(int(mark.name.removeprefix("worker-")))


def _wait_until_seen(cache: CacheWriter, found: set[str], folder: str | None, seconds: float = SEEN_WITHIN) -> None:
    """Until this node sees the surveys that others have written: who asks next must not miss one."""
    begun = time.monotonic()
    while missing := found.difference(Surveys(cache.root, cache.key, folder).rows):
        if time.monotonic() - begun >= seconds:
            raise CacheError(
                f"{len(missing):,} of {len(found):,} videos were surveyed, and are not to be seen in {cache.root}",
                hint="all nodes need the same shared folder; the same command goes on from there",
            )
        time.sleep(min(1.0, seconds / 10))

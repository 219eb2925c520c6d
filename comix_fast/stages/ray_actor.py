"""What a node of a Ray cluster runs: an actor that does blocks, each of them some rows of a table, one row a video.

Ids, paths and numbers come, counts and failures go. It is written without Ray, so that it can be tried by itself.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from comix_fast.cache.plain_files import stored_files
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages.attempts import MOST_TRIES, Attempts, Orders
from comix_fast.stages.block_worker import BlockWorker, Setup, block_from_json, error_to_json
from comix_fast.stages.blocks import Block
from comix_fast.stages.crew import Done
from comix_fast.stages.survey import Failure

if TYPE_CHECKING:
    import pyarrow as pa

Work = Literal["survey", "extract"]

SEEN_WITHIN = 120.0
"""Seconds in which a file made by one node must be seen by the others. NFS may show a listing of a minute ago."""

EXPECTED = "surveys"
"""A file of the run's folder of attempts: the names of the surveys that every actor must see."""


@dataclass(frozen=True)
class Told:
    """What an actor is told once. setup: as Setup.to_json gives it. folder: for surveys; attempts: the run's."""

    setup: Mapping[str, Any]
    work: Work
    folder: str
    attempts: str


@dataclass(frozen=True)
class Answer:
    """What came of a block. retried: whether it has ended a worker before; error: one that ends the run."""

    block: int
    n_videos: int = 0
    n_clips: int = 0
    failures: list[Failure] = field(default_factory=list)
    retried: bool = False
    error: dict[str, Any] | None = None


def block_table(block: Block) -> pa.Table:
    """A block as it travels: one row a video. Every row says how many there are, so that none can be lost."""
    import pyarrow as pa

    n = len(block.videos)
    segments = [video.segment or (None, None) for video in block.videos]
    return pa.table(
        {
            "block": pa.array([block.number] * n, pa.int64()),
            "of": pa.array([n] * n, pa.int64()),
            "domain": pa.array([block.domain] * n, pa.string()),
            "training": pa.array([block.training] * n, pa.bool_()),
            "id": pa.array([video.id for video in block.videos], pa.string()),
            # Actors have folders of their own to work in. A path may hold bytes that are no UTF-8.
            "path": pa.array([os.fsencode(video.path.absolute()) for video in block.videos], pa.binary()),
            "label": pa.array([video.label for video in block.videos], pa.int64()),
            "first": pa.array([first for first, _ in segments], pa.int64()),
            "last": pa.array([last for _, last in segments], pa.int64()),
        }
    )


def blocks_in(table: pa.Table) -> Iterator[Block]:
    """The blocks of a table's rows. Raises ComixError if one is not whole: half a block would give other shards."""
    rows_of: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows_of.setdefault(row["block"], []).append(row)
    for number, rows in rows_of.items():
        if any(row["of"] != len(rows) for row in rows):
            raise ComixError(
                f"{len(rows)} of the {rows[0]['of']} videos of block {number} arrived together",
                hint="this is a fault of comix-fast or of this version of Ray; use --workers instead",
            )
        videos = [
            {
                "id": row["id"],
                "path": os.fsdecode(row["path"]),
                "label": row["label"],
                "segment": None if row["first"] is None else (row["first"], row["last"]),
            }
            for row in rows
        ]
        yield block_from_json(
            {**{name: rows[0][name] for name in ("domain", "training")}, "number": number, "videos": videos}
        )


def answer_table(answers: Sequence[Answer]) -> pa.Table:
    """Answers as they travel: one row a block."""
    import pyarrow as pa

    return pa.table({"answer": pa.array([json.dumps(asdict(answer)) for answer in answers], pa.string())})


def answers_in(table: pa.Table) -> list[Answer]:
    """From what answer_table gave."""
    return [Answer(**json.loads(text)) for text in table["answer"].to_pylist()]


class BlockActor:
    """A BlockWorker for Ray Data's map_batches. told: JSON of Told.

    Nothing that is wrong is raised: Ray would wrap it in a traceback. It is the answer, and ends the run.
    """

    def __init__(self, told: str) -> None:
        self._told = Told(**json.loads(told))
        self._attempts = Attempts(Path(self._told.attempts))
        self._refusal: dict[str, Any] | None = None
        try:
            self._worker = self._started()
        except (ComixError, OSError) as error:
            self._refusal = _here(error_to_json(error))
        except Exception as error:
            traceback.print_exception(error)
            self._refusal = _here(error_to_json(_cannot_start(_words(error))))

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One answer a block."""
        try:
            return answer_table([self._answer(block) for block in blocks_in(rows)])
        except ComixError as error:
            return answer_table([Answer(-1, error=error_to_json(error))])

    def name(self) -> str:
        """Stays the same when Ray starts this actor again."""
        import ray

        return str(ray.get_runtime_context().get_actor_id())

    def _started(self) -> BlockWorker:
        """Raises ComixError if this node does not see the cache, or would compute something else.

        A process that dies here would be started again for ever: Ray counts no deaths of an actor whose restarts it
        does not limit, and one whose restarts it does limit is lost to the pool for good.
        """
        setup, attempts = Setup.from_json(self._told.setup), self._attempts
        if not attempts.folder.is_dir():
            raise CacheError(
                f"{socket.gethostname()} does not see {setup.root}",
                hint="all nodes need the same folder under the same path: put --out on a shared file system",
            )
        start = f"\0the start of {self.name()}"
        if attempts.tries(start) >= MOST_TRIES:
            raise _cannot_start(f"it has died {MOST_TRIES} times before it was ready")
        with attempts.watching(start):
            number = secrets.randbits(48)
            # The coordinator removes what this worker leaves half done when it dies.
            (attempts.folder / f"worker-{number}").touch()
            torch.set_num_threads(setup.threads)
            worker = BlockWorker(setup, number)
            if self._told.work == "extract":
                wait_for((attempts.folder / EXPECTED).read_text().splitlines(), setup.root)
                worker.load()
        return worker

    def _answer(self, block: Block) -> Answer:
        if self._refusal is not None:
            return Answer(block.number, error=self._refusal)
        try:
            orders = self._attempts.begin(block)
            done = self._done(block, orders)
        except (ComixError, OSError) as error:
            return Answer(block.number, error=_here(error_to_json(error)))
        except Exception as error:
            # As in a worker process: what nobody expects ends it, Ray starts another, Attempts counts.
            traceback.print_exception(error)
            self._attempts.say(block, _words(error))
            os._exit(1)
        return Answer(block.number, done.n_videos, done.n_clips, done.failures, orders.one_at_a_time)

    def _done(self, block: Block, orders: Orders) -> Done:
        watch = self._attempts.watching
        if self._told.work == "survey":
            return Done(failures=self._worker.survey(block, self._told.folder, watch=watch, orders=orders))
        return self._worker.extract(block, watch=watch, orders=orders)


def survey_names(root: Path, folders: Sequence[str]) -> list[str]:
    """The surveys that there are in these folders of the cache at `root`, as EXPECTED has them."""
    return [str(path.relative_to(root)) for folder in folders for path in stored_files(root, folder, ".h5")]


def wait_for(names: Sequence[str], root: Path, seconds: float = SEEN_WITHIN) -> None:
    """Until all these surveys are to be seen: a donor that is not seen would silently be taken for unreadable.

    Raises CacheError if that takes longer than `seconds`.
    """
    folders = sorted({str(Path(name).parent) for name in names})
    begun = time.monotonic()
    while missing := set(names).difference(survey_names(root, folders)):
        if time.monotonic() - begun >= seconds:
            raise CacheError(
                f"{socket.gethostname()} sees {len(names) - len(missing):,} of the {len(names):,} surveys in {root}",
                hint="all nodes need the same shared folder; one that is slow to show new files may need another try",
            )
        time.sleep(min(1.0, seconds / 10))


def _words(error: Exception) -> str:
    said = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _cannot_start(reason: str) -> ComixError:
    return ComixError(
        f"a worker can't be started: {reason}",
        hint="if memory is short, fewer workers a node or a smaller --batch-size help; Ray's logs say more",
    )


def _here(error: dict[str, Any]) -> dict[str, Any]:
    """The error with the node's name, which matters where they are not alike."""
    if "message" not in error:
        return error
    return {**error, "details": [*error["details"], f"on {socket.gethostname()}"]}

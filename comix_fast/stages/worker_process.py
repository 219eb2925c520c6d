"""A worker of `comix extract --workers`: reads orders as JSON lines on stdin, answers with JSON lines on stdout.

    {"settle": …}                 load a backbone, its precision checked on the first video that can be read
    {"setup": …, "number": …}     what this worker is, once
    {"load": true}                make ready for features
    {"survey" or "extract": block, "attempts": folder, "orders": …, "folder": …}

It answers {"ready": true}, {"looking": video's number}, {"settled": …}, {"advance": n}, {"done": …}, or, as its last
words, {"error": …}, which ends the run, or {"fell": reason}, which does not. It ends when its stdin does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comix_fast.console import Advance, Silent
from comix_fast.errors import ComixError

if TYPE_CHECKING:
    from comix_fast.stages.block_worker import BlockWorker

Tell = Callable[[Mapping[str, Any]], None]
Order = dict[str, Any]


def main() -> None:
    """The life of a worker. Never returns."""
    # Ctrl-C in a terminal reaches the whole group; it is for the coordinator to say what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell = _private_stdout()
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(_private_stdin(), orders.put), daemon=True).start()
    try:
        _serve(orders, tell)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the coordinator may be gone
            tell(_last_words(error))
    # Threads that hang in a library must not keep a worker that has failed.
    os._exit(1)


def _private_stdout() -> Tell:
    """Writes to what stdout was. What a library prints goes to stderr from now on."""
    descriptor = os.dup(1)
    os.dup2(2, 1)

    def tell(value: Mapping[str, Any]) -> None:
        left = (json.dumps(value) + "\n").encode()
        while left:
            left = left[os.write(descriptor, left) :]

    return tell


def _private_stdin() -> int:
    """What stdin was. A library that reads stdin finds nothing from now on."""
    descriptor = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return descriptor


def _listen(descriptor: int, take: Callable[[Order], None]) -> None:
    """Takes orders until the coordinator is gone, or has no more; then the process ends at once, whatever it does."""
    with open(descriptor, encoding="utf-8") as stdin:
        for line in stdin:
            take(json.loads(line))
    os._exit(0)


def _last_words(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ComixError | OSError):
        from comix_fast.stages.block_worker import error_to_json

        return {"error": error_to_json(error)}
    traceback.print_exception(error)
    said = str(error).strip().split("\n", 1)[0]
    return {"fell": f"{type(error).__name__}: {said}" if said else type(error).__name__}


def _serve(orders: queue.SimpleQueue[Order], tell: Tell) -> None:
    first = orders.get()
    if "settle" in first:
        from comix_fast.stages.settled import settle_here

        settled = settle_here(first["settle"], lambda number: tell({"looking": number}))
        tell({"settled": asdict(settled)})
        return
    worker = _worker(first)
    tell({"ready": True})
    while True:
        order = orders.get()
        if "load" in order:
            worker.load()
            tell({"ready": True})
        else:
            tell({"done": _do(worker, order, tell)})


def _worker(order: Order) -> BlockWorker:
    import torch

    from comix_fast.stages.block_worker import BlockWorker, Setup

    setup = Setup.from_json(order["setup"])
    torch.set_num_threads(setup.threads)
    return BlockWorker(setup, order["number"])


def _do(worker: BlockWorker, order: Order, tell: Tell) -> dict[str, Any]:
    from comix_fast.stages.attempts import Attempts, Orders
    from comix_fast.stages.block_worker import block_from_json
    from comix_fast.stages.crew import Done

    watch = Attempts(Path(order["attempts"])).watching
    orders = Orders(**order["orders"])
    reporter = _Telling(tell)
    if "survey" in order:
        block = block_from_json(order["survey"])
        failures = worker.survey(block, order["folder"], reporter, watch=watch, orders=orders)
        return asdict(Done(failures=failures))
    return asdict(worker.extract(block_from_json(order["extract"]), reporter, watch=watch, orders=orders))


class _Telling(Silent):
    """A reporter that tells the coordinator how far it has come."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    @contextlib.contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """Each advance is told on."""
        yield lambda done: self._tell({"advance": done})


if __name__ == "__main__":
    main()

"""The other processes of a command that shares its work: started as it was itself, watched, ended when it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from comix_fast.errors import ComixError, RunError

_PARENT = "COMIX_PARENT"
_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK", "OMP_NUM_THREADS")
"""What lightning-fabric reads, and may set, in the environment."""
POLL_SECONDS, GRACE_SECONDS = 0.2, 10.0
"""How often the others are looked at; how long a process may take to end by itself."""
SHOWN_LINES = 12


class Other(NamedTuple):
    """A process that was started; said: what it writes to stderr, which nobody reads unless it fails."""

    rank: int
    process: subprocess.Popen[bytes]
    said: IO[bytes]


class Others:
    """The processes that this one started; none where it was started itself.

    from_outside: whether torchrun or SLURM started them all.
    """

    def __init__(self, running: Sequence[Other] = (), from_outside: bool = False) -> None:
        self._running, self.from_outside = tuple(running), from_outside

    def failure(self, patience: float = 0.0) -> RunError | None:
        """Why one of them has ended before its time, in its own words; None if none has.

        patience: seconds to wait for one that is about to end.
        """
        until = time.monotonic() + patience
        while True:
            for other in self._running:
                if other.process.poll():
                    return self._ended(other)
            if time.monotonic() >= until:
                return None
            time.sleep(POLL_SECONDS)

    def _ended(self, other: Other) -> RunError:
        code = other.process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        other.said.seek(0)
        lines = other.said.read().decode(errors="replace").rstrip().splitlines()
        return RunError(
            f"process {other.rank + 1} of {len(self._running) + 1} {how}, so all were ended",
            lines[-SHOWN_LINES:] or ["it left no message: perhaps the machine was short of memory"],
            hint="what is finished is kept; the same command goes on from there",
        )

    def end(self, at_once: bool) -> None:
        """Waits for them; at_once: they are told to stop where they are."""
        for other in self._running:
            if at_once and other.process.poll() is None:
                other.process.terminate()
        until = time.monotonic() + (GRACE_SECONDS if at_once else 6 * GRACE_SECONDS)
        for other in self._running:
            try:
                other.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                other.process.kill()
                other.process.wait()
            other.said.close()


@contextlib.contextmanager
def started(count: int, warn: Callable[[str], None]) -> Iterator[Others]:
    """Starts this very command `count` − 1 times more, each process with its rank in the environment.

    They end with this process, however it ends. If one of them fails while this process waits for it in vain, warn is
    called with what it said, and this process ends with exit code 2. None are started where this process has been
    started as one of several itself: here, by torchrun or by SLURM's srun.
    """
    if parent := os.environ.get(_PARENT):
        _end_with(int(parent))
        yield Others()
        return
    if "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        yield Others(from_outside=True)
        return
    before = {name: os.environ.get(name) for name in _RENDEZVOUS}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "LOCAL_RANK": "0"}
    os.environ |= {"WORLD_SIZE": str(count), "NODE_RANK": "0"}
    over = threading.Event()
    others = Others([_start(rank) for rank in range(1, count)])
    threading.Thread(target=_watch, args=(others, over, warn), daemon=True, name="comix-others").start()
    try:
        yield others
    except BaseException:
        over.set()
        others.end(at_once=True)
        raise
    else:
        over.set()
        others.end(at_once=False)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(rank: int) -> Other:
    # Only the first process speaks; what another says of its end is kept for it.
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
    environment = os.environ | {"LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}
    command = [sys.executable, *sys.orig_argv[1:]]
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
    except OSError as error:
        raise ComixError(f"{command[0]} can't be started again: {error}", hint="leave out --devices") from error
    return Other(rank, process, said)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _watch(others: Others, over: threading.Event, warn: Callable[[str], None]) -> None:
    """Ends this process if another has failed and it does not notice: a GPU waits for a lost one for hours."""
    while not over.wait(POLL_SECONDS):
        failure = others.failure()
        if failure is not None and not over.wait(GRACE_SECONDS):
            warn(str(failure))
            sys.stderr.flush()
            os._exit(2)


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it has ended; in an orderly way if it can."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=follow, daemon=True, name="comix-parent").start()

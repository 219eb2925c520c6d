"""A worker process as its coordinator sees it: started, told, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

COMMAND = (sys.executable, "-P", "-m", "comix_fast.stages.worker_process")
"""What a worker is started with. -P: a dataset's folder is no place to import from."""

PATIENCE = 1.0
"""Seconds between two looks at whether a silent child is alive: a grandchild may hold its pipe open."""


class Child:
    """A process that answers lines of JSON with lines of JSON. It ends when this process does, however that ends.

    command: what it is. threads: OpenMP's of it. locks: descriptors of locks, which it holds as long as it lives.
    """

    def __init__(self, command: Sequence[str], threads: int, locks: Sequence[int] = ()) -> None:
        self._unread = b""
        # A Ctrl-C in between would leave a child that nobody knows of; the child itself keeps it blocked.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=tuple(locks),
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": _import_path()},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def stdout(self) -> int:
        """The descriptor that is ready to be read when there is something to hear."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def tell(self, value: Mapping[str, Any]) -> None:
        """Sends a line. To one that has died it does nothing: that is heard soon enough."""
        assert self._process.stdin is not None
        left = memoryview((json.dumps(value) + "\n").encode())
        with contextlib.suppress(BrokenPipeError):
            while left:
                left = left[self._process.stdin.write(left) :]

    def hear(self) -> tuple[list[dict[str, Any]], bool]:
        """What it has said since, waiting if that is nothing yet; and whether it will never say more."""
        said = os.read(self.stdout, 1 << 16)
        *lines, self._unread = (self._unread + said).split(b"\n")
        return [json.loads(line) for line in lines], not said

    def rest(self) -> list[dict[str, Any]]:
        """What one that has ended had still said; does not wait for others that may hold its pipe."""
        said: list[dict[str, Any]] = []
        with selectors.DefaultSelector() as ready:
            ready.register(self.stdout, selectors.EVENT_READ)
            last = False
            while not last and ready.select(0):
                some, last = self.hear()
                said += some
        return said

    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def ending(self) -> str:
        """Waits for the end of one that has said all, and gives it in words."""
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        named = signal.strsignal(-code)
        memory = ", as a system does that runs out of memory" if -code == signal.SIGKILL else ""
        return f"signal {-code}{f': {named}' if named else ''}{memory}"

    def end(self) -> None:
        """Ends it at once, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def heard(children: Sequence[Child]) -> Iterator[tuple[Child, list[dict[str, Any]], bool]]:
    """Waits until children have something to say or have died. Gives who, what, and whether that was the last of it."""
    with selectors.DefaultSelector() as ready:
        for child in children:
            ready.register(child.stdout, selectors.EVENT_READ, child)
        spoken = {id(key.data) for key, _ in ready.select(PATIENCE)}
    for child in children:
        if id(child) in spoken:
            yield child, *child.hear()
        elif child.gone():
            # It may have spoken after the wait, and then ended.
            yield child, child.rest(), True


def _import_path() -> str:
    """Where this process looks for modules, for a child to look there too."""
    return os.pathsep.join(os.path.abspath(folder) for folder in sys.path)  # noqa: PTH100 - an empty one is here

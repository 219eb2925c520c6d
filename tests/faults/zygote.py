"""A process that has imported all of comix and forks a child for each command: hundreds of kills a minute.

    python zygote.py < requests > answers

A request is a line of JSON, see `Request` in child.py for what a child is told. Answers are lines of JSON too:
{"tag", "pid"} when a child begins, {"tag", "status"} when it has ended. {"system": [words]} runs a command beside the
children, in the same mounts, and answers {"tag", "code", "said"}. The zygote ends when its stdin does, and its
children with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import subprocess
import sys
from typing import Any

import child

THREADS_IN = "/proc/self/task"


def import_all() -> None:
    """What a command would import on its way. Raises RuntimeError if a thread came with it: forks lose threads."""
    import comix_fast.commands as commands

    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"comix_fast.commands.{module.name}")
    for name in ("comix_fast.cli", "comix_fast.stages.adapt", "comix_fast.stages.retrieve", "av", "faiss"):
        importlib.import_module(name)
    # The first command imports more on its way, and the parts that read options.
    with contextlib.suppress(SystemExit):
        importlib.import_module("comix_fast.cli").main(["cache", "info", os.devnull])
    gc.freeze()
    if os.path.isdir(THREADS_IN) and len(os.listdir(THREADS_IN)) > 1:  # noqa: PTH112, PTH208 - no Path is needed here
        raise RuntimeError("the imports have started threads; set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1")


class Forking:
    """Serves requests until one of its forks is a child, which gets its request back."""

    def __init__(self) -> None:
        # A private copy: what a child prints must not end up among the answers.
        self._answers = os.dup(1)
        self._tags: dict[int, int] = {}
        self._unread = b""
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> dict[str, Any] | None:
        """The request, in a child; None in the zygote, when stdin has ended: its children are killed then."""
        with selectors.DefaultSelector() as ready:
            ready.register(0, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fd == self._woken:
                        self._reap()
                        continue
                    received = os.read(0, 65536)
                    if not received:
                        # Nobody is left to wait for them.
                        for pid in self._tags:
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
                        return None
                    *lines, self._unread = (self._unread + received).split(b"\n")
                    for line in lines:
                        request = self._take(json.loads(line))
                        if request is not None:
                            return request

    def _take(self, request: dict[str, Any]) -> dict[str, Any] | None:
        if "system" in request:
            done = subprocess.run(request["system"], capture_output=True, text=True, check=False)
            self._answer(tag=request["tag"], code=done.returncode, said=done.stderr)
            return None
        pid = os.fork()
        if not pid:
            os.setpgid(0, request.get("group", 0))
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (self._answers, self._woken, self._wake):
                os.close(descriptor)
            return request
        # Twice, as whoever comes first matters: the parent must be able to signal the group once it has answered.
        with contextlib.suppress(OSError):
            os.setpgid(pid, request.get("group", pid))
        self._tags[pid] = request["tag"]
        self._answer(tag=request["tag"], pid=pid)
        return None

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._tags:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self._tags:
                self._answer(tag=self._tags.pop(pid), status=os.waitstatus_to_exitcode(status))

    def _answer(self, **answer: object) -> None:
        os.write(self._answers, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    import_all()
    forking = Forking()
    os.write(forking._answers, b'{"tag": -1}\n')
    asked = forking.serve()
    if asked is None:
        sys.exit(0)
    child.live(asked)

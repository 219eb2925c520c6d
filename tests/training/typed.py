"""Commands as typed, in a process of its own that knows the tiny backbone: python typed.py train …

FAIL_AT="1 3" raises an error in the process of rank 1 when iteration 3 learns; KILL_AT ends it there by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
SHORT = (
    "--backbone", "tiny", "--weights", "random", "--precision", "fp32", "--backbone-lr", "0.01", "--clips", "4",
    "--batch-size", "2", "--hidden-dim", "8", "--decoder", "pyav", "--device", "cpu", "--threads", "1",
)  # fmt: skip


def folders(footage: Path) -> tuple[str, ...]:
    """Where a command finds what draw_footage drew."""
    return "--source", str(footage / "source"), "--target", str(footage / "target")


def begun(words: Sequence[object], cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """A command that runs; what it prints is kept for communicate()."""
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, words)]
    outer = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    one_thread = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=outer | one_thread | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _know_the_tiny_backbone() -> None:
    import tiny

    from comix_fast.commands import train

    tiny.register()
    train.CLIP_SIZE = tiny.CLIP_SIZE


def _fail(name: str, how: Callable[[], None]) -> None:
    """Does something in one process when it learns in some iteration, if the environment asks for it."""
    from comix_fast.training.learning import Learning

    rank, at = (os.environ.get(name) or "-1 -1").split()
    if os.environ.get("LOCAL_RANK", "0") != rank:
        return
    learn = Learning.learn

    def failing(self: Learning, iteration: int, gradients: Any) -> None:
        if iteration == int(at):
            how()
        learn(self, iteration, gradients)

    Learning.learn = failing  # type: ignore[method-assign]


def _raise() -> None:
    from comix_fast.errors import RunError

    raise RunError("a made-up failure", hint="there is nothing to do about it")


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "training")]
    from comix_fast.cli import main

    _know_the_tiny_backbone()
    _fail("FAIL_AT", _raise)
    _fail("KILL_AT", lambda: os.kill(os.getpid(), signal.SIGKILL))
    main()

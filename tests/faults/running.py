"""Commands under way: forked by a zygote, or real processes; both can be waited for, watched and killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
LONGEST = 120.0
"""Seconds after which a command counts as hanging; the slowest takes ten on a free machine."""
SWALLOWED = re.compile(r"^Exception ignored in.*?^KeyboardInterrupt:?\s*$", re.MULTILINE | re.DOTALL)
"""Ctrl-C in the middle of a weak reference's callback is dropped by Python itself: as if it hadn't been pressed."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Wrong(Exception):  # noqa: N818 - a verdict
    """Bytes differ, a silent wrong answer, or an ending that says nothing."""


class Lost(Exception):  # noqa: N818 - a verdict
    """Something that was finished is gone."""


class Impossible(Exception):  # noqa: N818 - a verdict
    """This machine does not let the fault be tried."""


class Ended(NamedTuple):
    """How a command ended. code: negative for a signal. mark: how far it had come, where that is known."""

    code: int
    out: str
    err: str
    mark: str

    @property
    def said(self) -> str:
        """What it said, in one line, for a report."""
        return " / ".join(line.strip() for line in self.err.strip().splitlines()[-4:])[-400:]

    def require(self, *codes: int) -> Ended:
        """Raises Wrong unless it ended with one of these codes and without a traceback."""
        if "Traceback" in SWALLOWED.sub("", self.err):
            raise Wrong(f"a traceback: {self.said}")
        if self.code not in codes:
            raise Wrong(f"exit code {self.code}, expected {' or '.join(map(str, codes))}: {self.said}")
        if self.code == 2 and "error: " not in self.err:
            raise Wrong(f"exit code 2 without a word of why: {self.said}")
        return self


@dataclass
class Running:
    """A command under way. marks: the file in which it says how far it has come, if it does."""

    pid: int
    out: Path
    err: Path
    marks: Path | None
    join: Callable[[float], int | None]
    began: float = field(default_factory=time.monotonic)

    @property
    def mark(self) -> str:
        """How far it has come; "" while that isn't known."""
        if self.marks is None:
            return ""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self.marks.read_text().strip()
        return ""

    def past_start(self) -> Running:
        """Waits until the command itself has begun."""
        while self.marks is not None and not self.mark and self.join(0) is None:
            time.sleep(0.0005)
        self.began = time.monotonic()
        return self

    def kill(self, number: int, group: bool = False) -> str:
        """Sends a signal, unless it has ended. Returns how far it had come."""
        mark = self.mark
        with contextlib.suppress(ProcessLookupError):
            if self.join(0) is None:
                (os.killpg if group else os.kill)(self.pid, number)
        return mark

    def wait(self, longest: float = LONGEST) -> Ended:
        """How it ended. Raises Wrong if it hangs; it is killed then."""
        code = self.join(longest)
        if code is None:
            # A child of the zygote tells where its threads are.
            self.kill(signal.SIGUSR1)
            self.join(1)
            mark = self.kill(signal.SIGKILL)
            self.join(LONGEST)
            stacks = self.err.read_text(errors="replace")[-4000:]
            raise Wrong(f"it hangs, at {mark or 'an unknown place'}:\n{stacks}")
        return Ended(code, self.out.read_text(errors="replace"), self.err.read_text(errors="replace"), self.mark)


class Zygote:
    """The process of zygote.py. mounting: in mounts of its own, where it may mount what it likes."""

    def __init__(self, scratch: Path, *, mounting: bool = False, **more: str) -> None:
        """scratch: a folder for what children print. Raises Impossible where mounting is refused."""
        self._scratch = scratch
        self._numbers = itertools.count()
        self._ends: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._begins: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._sending = threading.Lock()
        words = [*(("unshare", "-rm") if mounting else ()), sys.executable, str(HERE / "zygote.py")]
        scratch.mkdir(parents=True, exist_ok=True)
        self._errors = (scratch / "zygote.err").open("w+")
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **ONE_THREAD, **more},
                start_new_session=True,
            )
        except OSError as error:
            raise Impossible(f"no mounts of its own: {error}") from error
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self._process.wait()
            said = (scratch / "zygote.err").read_text()
            if mounting and "Traceback" not in said:
                raise Impossible(f"no mounts of its own: {said.strip()}")
            raise RuntimeError(f"the zygote did not begin: {said}")
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.root = Path(f"/proc/{self._process.pid}/root") if mounting else Path("/")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            event, kept = (self._ends if "status" in answer else self._begins)[answer["tag"]]
            kept.update(answer)
            event.set()
        for event, _ in (*self._begins.values(), *self._ends.values()):
            event.set()

    def _ask(self, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        tag = request["tag"]
        self._begins[tag], self._ends[tag] = (threading.Event(), {}), (threading.Event(), {})
        assert self._process.stdin is not None
        with self._sending:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        event, answer = self._begins[tag]
        if not event.wait(LONGEST) or not answer:
            raise RuntimeError(f"the zygote is gone: {(self._scratch / 'zygote.err').read_text()}")
        del self._begins[tag]
        return tag, answer

    def start(self, words: list[str], folder: Path, *, program: str = "comix", **faults: Any) -> Running:
        """Starts a command; faults as child.Request has them."""
        tag = next(self._numbers)
        out, err, marks = (self._scratch / f"{tag}.{name}" for name in ("out", "err", "marks"))
        # A child may be killed before it has opened them.
        for path in (out, err, marks):
            path.touch()
        request = {"program": program, "words": words, "folder": str(folder), "tag": tag, **faults}
        _, began = self._ask(request | {"out": str(out), "err": str(err), "marks": str(marks)})

        def join(seconds: float) -> int | None:
            event, answer = self._ends[tag]
            event.wait(seconds)
            return answer.get("status")

        return Running(began["pid"], out, err, marks, join)

    def system(self, *words: object) -> None:
        """Runs a command in the zygote's mounts. Raises Impossible if it fails."""
        _, done = self._ask({"system": [str(word) for word in words], "tag": next(self._numbers)})
        if done["code"]:
            raise Impossible(f"{' '.join(map(str, words))}: {done['said'].strip()}")

    def close(self) -> None:
        """Ends it, when its children have ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(5)
        for stream in (self._process.stdout, self._errors):
            if stream is not None:
                stream.close()


def start_real(words: list[str], folder: Path, scratch: Path, env: Mapping[str, str | None] | None = None) -> Running:
    """Starts `comix` as a process and a group of its own, as a shell does. env: None removes a variable."""
    scratch.mkdir(parents=True, exist_ok=True)
    number = len(list(scratch.iterdir()))
    out, err = (
        scratch / f"real-{number}-{time.monotonic_ns()}.out",
        scratch / f"real-{number}-{time.monotonic_ns()}.err",
    )
    surroundings = {**os.environ, **(env or {})}
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [sys.executable, "-m", "comix_fast", *words],
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
            cwd=folder,
            env={name: value for name, value in surroundings.items() if value is not None},
            start_new_session=True,
        )

    def join(seconds: float) -> int | None:
        try:
            return process.wait(seconds) if seconds else process.poll()
        except subprocess.TimeoutExpired:
            return None

    return Running(process.pid, out, err, None, join)

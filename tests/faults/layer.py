"""Between the command and its files: counts each operation, and at the n-th kills the process or raises an error.

What HDF5 itself writes is not seen here; for that there are full disks, limits and kills from outside.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WATCHED = (
    ("open", "open"),
    ("write", "write"),
    ("pwrite", "write"),
    ("fsync", "fsync"),
    ("fdatasync", "fsync"),
    ("ftruncate", "write"),
    ("replace", "replace"),
    ("rename", "replace"),
    ("link", "replace"),
    ("mkdir", "mkdir"),
    ("chmod", "chmod"),
    ("fchmod", "chmod"),
    ("unlink", "unlink"),
    ("remove", "unlink"),
)
ROOMLESS = frozenset({"open", "write", "fsync", "replace", "mkdir"})
"""What a full disk can refuse; of the others it refuses none, so they fail in another way."""
MARK_BYTES = 48
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}


@dataclass(frozen=True)
class Fault:
    """What happens at operation number `at`, counted from 1; 0: nothing does.

    act: one of SIGNALS, which the process sends to itself, or "raise". error: the name of the error raised.
    half: of what was to be written, half is. lasting: all later operations of the kinds a full disk refuses fail too.
    """

    at: int
    act: str
    error: str = "EIO"
    half: bool = False
    lasting: bool = False


class Layer:
    """The operations of one process. marks: a file that always holds the last of them."""

    def __init__(self, fault: Fault, marks: str, ops: str | None, pace: float) -> None:
        self._fault, self._pace, self._count = fault, pace, 0
        self._marks = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._ops = None if ops is None else os.open(ops, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._pwrite, self._write = os.pwrite, os.write

    def mark(self, text: str) -> None:
        """Says how far the process has come."""
        self._pwrite(self._marks, text[:MARK_BYTES].ljust(MARK_BYTES).encode()[:MARK_BYTES], 0)

    def at_work(self, what: str) -> None:
        """The process is at something that is no operation on files."""
        self.mark(what)
        time.sleep(self._pace)

    def operation(self, name: str, path: object, halfway: Callable[[], object] | None = None) -> None:
        """Called before each operation. halfway: does half of it."""
        self._count += 1
        text = f"{name} {what_is(path)}"
        self.mark(text)
        if self._ops is not None:
            self._write(self._ops, f"{text}\n".encode())
        time.sleep(self._pace)
        fault = self._fault
        later = fault.lasting and self._count > fault.at > 0 and name in ROOMLESS
        if self._count != fault.at and not later:
            return
        if fault.half and halfway is not None:
            with contextlib.suppress(OSError):
                halfway()
        if fault.act in SIGNALS:
            os.kill(os.getpid(), SIGNALS[fault.act])
        else:
            number = getattr(errno, fault.error if name in ROOMLESS else "EIO")
            raise OSError(number, os.strerror(number), str(path) if isinstance(path, str | Path) else None)

    def install(self) -> None:
        """Wraps the functions of `os`, and `open`."""
        for function, name in WATCHED:
            if hasattr(os, function):
                setattr(os, function, self._wrapped(getattr(os, function), name))
        builtins.open = io.open = self._opening(io.open)  # type: ignore[assignment]

    def _wrapped(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            if name == "open" and not _to_write(words, options):
                return real(*words, **options)
            halfway = None
            if name == "write" and len(words) > 1 and not isinstance(words[1], int):
                rest = words[2:]
                halfway = lambda: real(words[0], memoryview(words[1])[: len(words[1]) // 2], *rest)  # noqa: E731
            self.operation(name, words[-1] if name == "replace" else words[0], halfway)
            return real(*words, **options)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        layer = self

        class Written(io.FileIO):
            def write(self, content: Any) -> int:
                view = memoryview(content).cast("B")
                layer.operation("write", self.name, lambda: super(Written, self).write(view[: len(view) // 2]))
                return super().write(view) or 0

        def opening(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            if not isinstance(file, int):
                layer.operation("open", file)
            raw = Written(file, mode.replace("b", "").replace("t", ""), closefd, opener)
            if not buffering:
                return raw
            buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        return opening


def _to_write(words: tuple[Any, ...], options: dict[str, Any]) -> bool:
    flags = words[1] if len(words) > 1 else options.get("flags", 0)
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def what_is(path: object) -> str:
    """What part of a cache a file is, in one word."""
    if isinstance(path, int):
        try:
            path = os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115
        except OSError:
            return "file"
    whole = Path(os.fsdecode(path))  # type: ignore[arg-type]
    if whole.suffix in (".h5", ".partial") and whole.parent.name in ("shards", "surveys"):
        return whole.parent.name.removesuffix("s")
    for name in ("manifest", "dataset", "failures", "lock"):
        if whole.name.startswith((name, f".{name}")):
            return name
    return "folder" if whole.is_dir() else "file"

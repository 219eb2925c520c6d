"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comix_fast.errors import ComixError

PARTIAL = ".partial"


@contextlib.contextmanager
def whole_file(path: Path, tag: str = "") -> Iterator[Path]:
    """A temporary path beside `path`; moved onto it, flushed and synced, if the block ends well, else removed.

    tag: stands first in the temporary name, where several writers share a folder: see remove_partial.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{tag}{path.name}.", suffix=PARTIAL, dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raises OSError unless a file can be made beside `path`, as whole_file will; leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
    os.close(descriptor)
    Path(name).unlink()


def write_whole(path: Path, *pieces: bytes | memoryview, tag: str = "") -> None:
    """Writes a file of these pieces, whole or not at all. tag: as for whole_file. Raises OSError."""
    with whole_file(path, tag) as partial, partial.open("wb", buffering=0) as file:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                left = left[file.write(left) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't sync a folder; the file itself is safe there by then.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held_lock(path: Path, refusal: ComixError, shared: bool = False, wait: bool = False) -> Iterator[int]:
    """Holds the lock file `path` while the block runs; gives its descriptor.

    shared: together with others that share it. wait: until whoever holds it is done, for locks held briefly.
    The lock goes with the process, so a killed one leaves none behind; a process that inherits the descriptor holds it
    too. Raises `refusal` if another process holds it, ComixError where the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # For reading too: NFS makes a POSIX lock of it, and a shared one of those asks for a file open for reading.
        with path.open("a+") as lock:
            _take_lock(lock.fileno(), path, refusal, shared, wait)
            # Whoever held it may have removed the file in between: then others lock a new one.
            if _is_at(lock.fileno(), path):
                yield lock.fileno()
                return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _take_lock(descriptor: int, path: Path, refusal: ComixError, shared: bool, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise refusal from error
        raise ComixError(
            f"{path} can't be locked: {error.strerror}",
            hint="its file system has no locks (Lustre: mount it with -o flock); write to a local disk instead",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole, indented, in UTF-8."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def size_of(path: Path) -> int:
    """Bytes of a file; 0 for what is no file, or no longer there: others may be moving files into place."""
    try:
        found = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def remove_partial(folder: Path, tag: str = "") -> None:
    """Removes what a killed writer left behind. tag: only of the writer with this tag."""
    for leftover in folder.glob(f".{tag}*{PARTIAL}"):
        leftover.unlink(missing_ok=True)

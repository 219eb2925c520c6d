"""Room on a disk: asked for before much is written, and said plainly when it runs out all the same."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from comix_fast.errors import CacheError


@contextlib.contextmanager
def room_for(path: Path, folder: Path, n_bytes: int, left: str) -> Iterator[None]:
    """Around the writing of `path`, n_bytes in all, into `folder`, which exists.

    left: what is left of it, in words, if there is no room. Raises CacheError then, at once or from any OSError.
    """
    takes, hint = f"it takes {n_bytes:,} bytes", f"make room, or choose another --out; {left}"
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise CacheError(f"{path} finds no room: {takes}, {free:,} are free", hint=hint)
    try:
        yield
    except OSError as error:
        raise CacheError(f"{path} can't be written: {(error.strerror or str(error)).lower()}", [takes], hint) from error

"""The bytes of an HDF5 file, handed out block by block: each lies inside the file and belongs to one thing only."""

from __future__ import annotations

import itertools
import os
from typing import NoReturn

from comix_fast.cache.seal import DAMAGED
from comix_fast.errors import CacheError


class Blocks:
    """Of the first n_bytes bytes of an open file. where: its name, for errors.

    No two blocks may overlap, so that whoever follows addresses in the file comes to an end: in time, and in memory,
    that its size bounds.
    """

    def __init__(self, descriptor: int, n_bytes: int, where: str) -> None:
        self.n_bytes = n_bytes
        self.where = where
        self._descriptor = descriptor
        self._ends: dict[int, int] = {}
        self._left = n_bytes

    def refuse(self, what: str) -> NoReturn:
        """Raises CacheError."""
        raise CacheError(f"{self.where} can't be read as HDF5: {what}", hint=DAMAGED)

    def claim(self, at: int, count: int, what: str) -> None:
        """Takes bytes at … at + count − 1 for one thing. Raises CacheError if they lie outside, or are taken."""
        if not 0 <= at <= self.n_bytes - count or count < 0:
            self.refuse(f"{what} lies outside the file")
        if count:
            self._left -= count
            if self._left < 0 or at in self._ends:
                self.refuse(f"{what} lies where something else does")
            self._ends[at] = at + count

    def read(self, at: int, count: int, what: str) -> bytes:
        """Bytes at … at + count − 1. Raises CacheError if they are not all in the file."""
        if not 0 <= at <= self.n_bytes - count or count < 0:
            self.refuse(f"{what} lies outside the file")
        content = os.pread(self._descriptor, count, at)
        while len(content) < count and (more := os.pread(self._descriptor, count - len(content), at + len(content))):
            content += more
        if len(content) < count:
            self.refuse(f"it ends in the middle of {what}")
        return content

    def take(self, at: int, count: int, what: str) -> bytes:
        """Claims and reads."""
        self.claim(at, count, what)
        return self.read(at, count, what)

    def require_apart(self) -> None:
        """Raises CacheError if any two blocks taken overlap."""
        for (_, end), (at, _) in itertools.pairwise(sorted(self._ends.items())):
            if at < end:
                self.refuse(f"two things share byte {at:,}")

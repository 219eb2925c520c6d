"""An HDF5 file in the making, without its large arrays: in memory, so that a full disk can't break it half-way."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import h5py

from comix_fast.cache.format import mark
from comix_fast.errors import CacheError

PAGE = 1 << 16


class SparseImage(io.RawIOBase):
    """A file in memory that keeps only what is written to it; all else reads as zeros.

    HDF5 gives a large array its place without writing to it: the image then holds the structure around it alone, and
    whoever writes the file fills the array by plain writes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self._at = 0
        self._pages: dict[int, bytearray] = {}

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self.size = self._at if size is None else size
        return self.size

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        for at, place, offset, count in self._pieces(len(view)):
            page = self._pages.setdefault(place, bytearray(PAGE))
            page[offset : offset + count] = view[at : at + count]
        self._at += len(view)
        self.size = max(self.size, self._at)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        n_bytes = max(0, min(len(view), self.size - self._at))
        for at, place, offset, count in self._pieces(n_bytes):
            page = self._pages.get(place)
            view[at : at + count] = bytes(count) if page is None else page[offset : offset + count]
        self._at += n_bytes
        return n_bytes

    def _pieces(self, n_bytes: int) -> list[tuple[int, int, int, int]]:
        """(at, page, offset in it, count) of each piece of the next n_bytes."""
        found, at = [], 0
        while at < n_bytes:
            place, offset = divmod(self._at + at, PAGE)
            count = min(PAGE - offset, n_bytes - at)
            found.append((at, place, offset, count))
            at += count
        return found

    def pour(self, file: BinaryIO) -> None:
        """Writes what it holds into an empty file and makes that as long; what it doesn't hold stays a hole."""
        file.truncate(self.size)
        for place in sorted(self._pages):
            write_at(file, place * PAGE, memoryview(self._pages[place])[: max(0, self.size - place * PAGE)])


def write_at(file: BinaryIO, at: int, content: memoryview | bytes) -> None:
    """Writes all of `content` from byte `at` on. Raises OSError where there is no room."""
    file.seek(at)
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def reserve(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: str) -> int:
    """A marked array that has its place in the file and no content yet: gives its first byte, 0 if it is empty."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    element = group.create_dataset(name, shape=shape, dtype=dtype, dcpl=plan)
    mark(element, "array")
    place = element.id.get_offset()
    if place is None and element.size:
        raise CacheError(f"HDF5 gave {group.name}/{name} no place", hint="update h5py")
    return int(place or 0)

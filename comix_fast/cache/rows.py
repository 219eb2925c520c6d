"""The feature rows of a list of videos, in memory or left on disk and mapped: drawn from in one and the same way."""

from __future__ import annotations

import functools
import itertools
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.cache.crc import require_rows
from comix_fast.cache.layout import FEATURE_BYTES, Stretch
from comix_fast.cache.reading import open_file
from comix_fast.errors import CacheError

# Mapped rows stay in pieces of this size, and so many pieces at once: what is resident, or counts as address space,
# is bounded whatever the size of a shard, and so is the number of open files.
PIECE_BYTES = 8 << 20
OPEN_PIECES = 32
# Pieces that HDF5 must read (of files that others have repacked) take memory of their own.
READ_PIECES = 8

_DAMAGED = "the file is damaged or has changed: delete a shard and run extract again, make a compacted file again"


class Rows(Protocol):
    """N rows of D numbers, all float16 (as features are stored) or all float32 (what is computed from them)."""

    @property
    def dim(self) -> int:
        """D."""

    @property
    def device(self) -> torch.device:
        """Where the rows that are taken are."""

    def __len__(self) -> int:
        """N."""

    def take(self, index: Tensor) -> Tensor:
        """[…] int64 row numbers in [0, N), in any order and as often as wanted -> […, D] of their own type and device.

        Raises IndexError for numbers outside (on CUDA the device asserts), CacheError if a file can't be read.
        """

    def read(self, first: int, last: int) -> Tensor:
        """Rows first … last − 1 -> [last − first, D] of their own type, perhaps a view: not to be written to."""

    def load(self, advance: Callable[[int], None]) -> Rows:
        """The rows in memory; `advance` hears how many more are there. Raises MemoryError if they find no room."""

    def to(self, device: torch.device | str) -> Rows:
        """The same rows, taken on another device."""


class LoadedRows:
    """Rows in memory, the machine's or a device's."""

    def __init__(self, values: Tensor) -> None:
        """values: [N, D] float16 or float32, kept and not copied."""
        self._values = values
        # Numpy copies rows on the calling thread. Torch shares so small a copy among its threads and waits for them: at
        # best half as long, but ten times as long on average where another core is slow to wake.
        self._array: NDArray[np.float16 | np.float32] | None = values.numpy() if values.device.type == "cpu" else None

    @property
    def dim(self) -> int:
        return self._values.shape[1]

    @property
    def device(self) -> torch.device:
        return self._values.device

    def __len__(self) -> int:
        return len(self._values)

    def take(self, index: Tensor) -> Tensor:
        if self._array is None:
            numbers = index.reshape(-1).to(self.device)
            return self._values.index_select(0, numbers).view(*index.shape, self.dim)
        taken = np.take(self._array, _row_numbers(index, len(self)), axis=0)
        return torch.from_numpy(taken).view(*index.shape, self.dim)

    def read(self, first: int, last: int) -> Tensor:
        return self._values[first:last]

    def load(self, advance: Callable[[int], None]) -> LoadedRows:
        advance(len(self))
        return self

    def to(self, device: torch.device | str) -> LoadedRows:
        return LoadedRows(self._values.to(device))


class MappedRows:
    """Rows that stay in their files: what a batch needs is read as it is taken.

    The system keeps what it has room for; mapped files do not count as memory of the process. A piece is checked
    against its checksums the first time that it is mapped.
    """

    def __init__(self, stretches: Sequence[Stretch], dim: int, device: torch.device | str = "cpu") -> None:
        """stretches: where the rows are, in their order; nothing is opened yet."""
        self._dim, self._device = dim, torch.device(device)
        self._pieces = [piece for stretch in stretches for piece in _cut(stretch, PIECE_BYTES, dim)]
        ends = np.cumsum([piece.count for piece in self._pieces], dtype=np.int64)
        self._firsts = np.concatenate([np.zeros(1, np.int64), ends])
        self._checked: dict[int, tuple[int, ...]] = {}
        self._mapped = functools.lru_cache(OPEN_PIECES)(self._map)
        self._copied = functools.lru_cache(READ_PIECES)(self._copy)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def device(self) -> torch.device:
        return self._device

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def take(self, index: Tensor) -> Tensor:
        rows = _row_numbers(index, len(self))
        out = np.empty((len(rows), self._dim), np.float16)
        # In the order of the files: each piece is looked up once, and a disk is read in one direction.
        order = np.argsort(rows, kind="stable")
        number = np.searchsorted(self._firsts, rows[order], side="right") - 1
        edges = (np.flatnonzero(np.diff(number)) + 1).tolist()
        for begin, end in itertools.pairwise((0, *edges, len(rows)) if len(rows) else ()):
            places, piece = order[begin:end], int(number[begin])
            out[places] = self._piece(piece)[rows[places] - self._firsts[piece]]
        return torch.from_numpy(out).view(*index.shape, self._dim).to(self._device)

    def read(self, first: int, last: int) -> Tensor:
        # Plainly read: whoever wants rows in a row wants them once, and read-ahead suits that.
        out = np.empty((last - first, self._dim), np.float16)
        number = int(np.searchsorted(self._firsts, first, side="right")) - 1
        done = 0
        while done < len(out):
            piece, skipped = self._pieces[number], first + done - int(self._firsts[number])
            count = min(piece.count - skipped, len(out) - done)
            read_into(_part(piece, skipped, count, self._dim), out[done : done + count])
            done, number = done + count, number + 1
        return torch.from_numpy(out).to(self._device)

    def load(self, advance: Callable[[int], None]) -> LoadedRows:
        # One array, made at once and filled in place: the peak is the size of the rows.
        out = np.empty((len(self), self._dim), np.float16)
        done = 0
        for piece in self._pieces:
            read_into(piece, out[done : done + piece.count])
            done += piece.count
            advance(piece.count)
        return LoadedRows(torch.from_numpy(out).to(self._device))

    def to(self, device: torch.device | str) -> MappedRows:
        return MappedRows(self._pieces, self._dim, device)

    def _piece(self, number: int) -> NDArray[np.float16]:
        return self._copied(number) if self._pieces[number].first_byte is None else self._mapped(number)

    def _map(self, number: int) -> NDArray[np.float16]:
        piece = self._pieces[number]
        begin = piece.first_byte or 0
        aligned = begin - begin % mmap.ALLOCATIONGRANULARITY
        size = piece.count * self._dim
        try:
            with piece.path.open("rb") as file:
                found = os.fstat(file.fileno())
                mapped = mmap.mmap(
                    file.fileno(), begin - aligned + FEATURE_BYTES * size, access=mmap.ACCESS_READ, offset=aligned
                )
        except ValueError as error:
            raise CacheError(f"{piece.path} can't be mapped: {error}", hint=_DAMAGED) from error
        except OSError as error:
            raise CacheError(f"{piece.path} can't be mapped: {error}", hint="see ulimit -v and ulimit -n") from error
        rows = np.frombuffer(mapped, np.float16, size, begin - aligned).reshape(piece.count, self._dim)
        # Again if the file is another one by now.
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._checked.get(number) != identity:
            _require(piece, rows)
            self._checked[number] = identity
        return rows

    def _copy(self, number: int) -> NDArray[np.float16]:
        out = np.empty((self._pieces[number].count, self._dim), np.float16)
        read_into(self._pieces[number], out)
        return out


def _row_numbers(index: Tensor, n_rows: int) -> NDArray[np.int64]:
    """The numbers in one array; negative ones would count from the end, so they are refused too."""
    rows: NDArray[np.int64] = index.reshape(-1).cpu().numpy()
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_rows):
        raise IndexError(f"row numbers must be in [0, {n_rows:,}), found {rows.min()} to {rows.max()}")
    return rows


def read_into(stretch: Stretch, out: NDArray[np.float16]) -> None:
    """Fills `out`, [stretch.count, D], with the rows of a stretch; nothing else is allocated.

    Raises CacheError if they can't be read or are not what was written.
    """
    if stretch.first_byte is None:
        _read_through_hdf5(stretch, out)
    else:
        _read_bytes(stretch, stretch.first_byte, out)
    _require(stretch, out)


def _require(stretch: Stretch, rows: NDArray[np.float16]) -> None:
    require_rows(rows, stretch.crc32, f"{stretch.path}, view {stretch.view}", stretch.first)


def _read_bytes(stretch: Stretch, first_byte: int, out: NDArray[np.float16]) -> None:
    left = out.reshape(-1).view(np.uint8).data
    try:
        with stretch.path.open("rb", buffering=0) as file:
            file.seek(first_byte)
            while left:
                n_bytes = file.readinto(left)
                if not n_bytes:
                    raise CacheError(f"{stretch.path} ends before its features do", hint=_DAMAGED)
                left = left[n_bytes:]
    except OSError as error:
        raise CacheError(f"{stretch.path} can't be read: {error}", hint=_DAMAGED) from error


def _read_through_hdf5(stretch: Stretch, out: NDArray[np.float16]) -> None:
    with open_file(stretch.path, "comix-shard") as file:
        try:
            features = file["views"][stretch.view]["features"]
            features.read_direct(out, np.s_[stretch.first : stretch.first + stretch.count])
        except (OSError, KeyError) as error:
            raise CacheError(f"{stretch.path} can't be read: {error}", hint=_DAMAGED) from error


def _part(stretch: Stretch, skipped: int, count: int, dim: int) -> Stretch:
    """`count` rows of a stretch, after its first `skipped` ones."""
    byte = None if stretch.first_byte is None else stretch.first_byte + skipped * dim * FEATURE_BYTES
    crc32 = None if stretch.crc32 is None else stretch.crc32[skipped : skipped + count]
    return replace(stretch, first=stretch.first + skipped, count=count, first_byte=byte, crc32=crc32)


def _cut(stretch: Stretch, n_bytes: int, dim: int) -> Iterator[Stretch]:
    """A stretch in parts of at most so many bytes, one row at least."""
    longest = max(1, n_bytes // (FEATURE_BYTES * dim))
    for skipped in range(0, stretch.count, longest):
        yield _part(stretch, skipped, min(longest, stretch.count - skipped), dim)

"""Which rows of which shards hold the clips of a list of videos, before a feature is read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache.format import ViewTable
from comix_fast.cache.reader import FeatureCache
from comix_fast.errors import CacheError

FEATURE_BYTES = 2


@dataclass(frozen=True)
class Stretch:
    """Rows of one view that follow each other in one shard: `count` of them from row `first`.

    first_byte: where in the file the first of them begins; None if they must be read through HDF5. crc32: [count],
    of each row; None in caches of form 1, which have none.
    """

    path: Path
    view: str
    first: int
    count: int
    first_byte: int | None
    crc32: NDArray[np.uint32] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Layout:
    """One view of V videos as N rows, shard after shard: a shard is read from front to back, whatever the list's order.

    first, count: [V] int64, each video's first row and how many it has; starts: [N] int64, the clips' first frames.
    stretches: where the rows are, in their order. dim: numbers a row.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    starts: NDArray[np.int64]
    stretches: tuple[Stretch, ...]
    dim: int


def lay_out(cache: FeatureCache, videos: Sequence[str], views: Sequence[str]) -> list[Layout]:
    """The rows of some views of some videos, one layout per view.

    A video listed twice has its rows once. Raises CacheError if a video or a view is missing, or shards are damaged
    or differ in the length of their features.
    """
    if not videos:
        raise CacheError(f"no video of {cache.path} was asked for")
    members: dict[Path, list[tuple[int, int]]] = {}
    for number, video in enumerate(videos):
        path, row = cache.place(video)
        if path not in members:
            for view in views:
                cache.require_view(video, view)
        members.setdefault(path, []).append((row, number))
    growing = [_Growing.of(len(videos)) for _ in views]
    for path in sorted(members):
        rows, numbers = np.array(members[path]).T
        for view, layout, table in zip(views, growing, cache.tables(path, views), strict=True):
            layout.add(path, view, table, rows, numbers)
            for number in numbers[layout.count[numbers] == 0]:
                # In a compacted file a video that has no such view has no rows.
                cache.require_view(videos[number], view)
    return [layout.finished() for layout in growing]


@dataclass
class _Growing:
    """A layout while shards are added to it."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    starts: list[NDArray[np.int64]]
    stretches: list[Stretch]
    dims: dict[int, Path]
    n_rows: int = 0

    @classmethod
    def of(cls, n_videos: int) -> _Growing:
        return cls(np.empty(n_videos, np.int64), np.empty(n_videos, np.int64), [], [], {})

    def add(self, path: Path, view: str, table: ViewTable, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """The videos at places `rows` of one shard, which are numbers `numbers` of the list."""
        self.dims.setdefault(table.dim, path)
        rows, back = np.unique(rows, return_inverse=True)
        low, high = table.offsets[rows], table.offsets[rows + 1]
        count = high - low
        self.first[numbers] = (self.n_rows + np.cumsum(count) - count)[back]
        self.count[numbers] = count[back]
        self.n_rows += int(count.sum())
        breaks = (np.flatnonzero(low[1:] != high[:-1]) + 1).tolist()
        for one, other in itertools.pairwise((0, *breaks, len(rows))):
            begin, end = int(low[one]), int(high[other - 1])
            self.starts.append(table.starts[begin:end])
            row_bytes = FEATURE_BYTES * table.dim
            byte = None if table.first_byte is None else table.first_byte + begin * row_bytes
            crc32 = None if table.crc32 is None else table.crc32[begin:end]
            self.stretches.append(Stretch(path, view, begin, end - begin, byte, crc32))

    def finished(self) -> Layout:
        if len(self.dims) != 1:
            found = [f"{dim:,} numbers a clip in {path.name}" for dim, path in self.dims.items()]
            raise CacheError("the shards of this cache hold features of different lengths", found)
        (dim,) = self.dims
        stretches = tuple(stretch for stretch in self.stretches if stretch.count)
        return Layout(self.first, self.count, np.concatenate(self.starts), stretches, dim)

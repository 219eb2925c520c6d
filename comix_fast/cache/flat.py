"""Views of a cache as flat arrays over a list of videos, a piece at a time: for other forms of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache.crc import row_crc32
from comix_fast.cache.format import ViewTable
from comix_fast.cache.layout import FEATURE_BYTES, Stretch
from comix_fast.cache.lists import DOMAINS
from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.rows import read_into
from comix_fast.config import PLAIN
from comix_fast.errors import CacheError

PIECE_BYTES = 16 << 20

Members = dict[Path, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""By file: places there, ascending, and the numbers in the list of the videos at them."""


@dataclass(frozen=True)
class FlatView:
    """One view of V videos, its rows in their order: rows offsets[i]:offsets[i + 1] are video i's, none without it.

    offsets [V + 1] int64; dim: numbers a row; donor [V], "" without one, and gamma [V] float32, NaN without one, or
    None for a view without mixing.
    """

    name: str
    dim: int
    offsets: NDArray[np.int64]
    donor: list[str] | None = None
    gamma: NDArray[np.float32] | None = None

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return int(self.offsets[-1])


@dataclass(frozen=True)
class Piece:
    """Some rows of a flat view that follow each other from row `first`.

    features [n, D] float16, checked against their checksums, starts [n] int64, crc32 [n] uint32.
    """

    first: int
    features: NDArray[np.float16]
    starts: NDArray[np.int64]
    crc32: NDArray[np.uint32]


def listed_order(cache: FeatureCache) -> list[str]:
    """All extracted videos: by domain, then as they are listed, training videos first, then those not listed by id."""
    position = {
        (domain, video): number for domain in DOMAINS for number, (video, _) in enumerate(cache.lists.of_domain(domain))
    }
    unlisted = len(position)
    domains = {video: cache.domain(video) for video in cache.extracted}
    return sorted(
        domains,
        key=lambda video: (DOMAINS.index(domains[video]), position.get((domains[video], video), unlisted), video),
    )


class Flattened:
    """The views of some videos of a cache, in the order of `videos`, whatever their order in its files."""

    def __init__(self, cache: FeatureCache, videos: Sequence[str]) -> None:
        self.cache, self.videos = cache, videos
        places: dict[Path, list[tuple[int, int]]] = {}
        for number, video in enumerate(videos):
            path, row = cache.place(video)
            places.setdefault(path, []).append((row, number))
        self._members: Members = {}
        for path in sorted(places):
            rows, numbers = np.array(sorted(places[path]), np.int64).T
            self._members[path] = rows, numbers

    def views(self) -> list[FlatView]:
        """Every view that one of the videos has: plain first, then by name.

        Raises CacheError if files are damaged or differ in the length of their features.
        """
        growing: dict[str, _Counted] = {}
        for path, (rows, numbers) in self._members.items():
            held = self.cache.views_of(path)
            tables, mixed = self.cache.tables(path, held), self.cache.mixing(path, held)
            for name, table, mixing in zip(held, tables, mixed, strict=True):
                counted = growing.setdefault(name, _Counted(len(self.videos)))
                counted.add(path, table, rows, numbers)
                if mixing is not None:
                    counted.mix(mixing[0], mixing[1], rows, numbers)
        names = sorted(growing, key=lambda name: (name != PLAIN, name))
        return [view for name in names if (view := growing[name].finished(name)).n_rows]

    def pieces(self, view: FlatView) -> Iterator[Piece]:
        """All rows of a view, file by file; PIECE_BYTES of features at most at a time.

        Raises CacheError if they can't be read or are not what was written.
        """
        for path, (rows, numbers) in self._members.items():
            if view.name in self.cache.views_of(path):
                (table,) = self.cache.tables(path, [view.name])
                low, high = table.offsets[rows], table.offsets[rows + 1]
                for begin, end, first in _runs(low, high, view.offsets[numbers]):
                    yield from _cut(path, view.name, table, begin, end, first)


def _runs(low: NDArray[np.int64], high: NDArray[np.int64], first: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first): rows begin … end − 1 of a file are, in a row, those from `first` of the flat view."""
    some = high > low
    low, high, first = low[some], high[some], first[some]
    apart = (low[1:] != high[:-1]) | (first[1:] != first[:-1] + (high - low)[:-1])
    edges = np.concatenate(([0], np.flatnonzero(apart) + 1)) if len(low) else np.empty(0, np.int64)
    for one, other in zip(edges.tolist(), [*edges[1:].tolist(), len(low)], strict=False):
        yield int(low[one]), int(high[other - 1]), int(first[one])


def _cut(path: Path, view: str, table: ViewTable, begin: int, end: int, first: int) -> Iterator[Piece]:
    row_bytes = FEATURE_BYTES * table.dim
    longest = max(1, PIECE_BYTES // max(1, row_bytes))
    for at in range(begin, end, longest):
        last = min(end, at + longest)
        features = np.empty((last - at, table.dim), np.float16)
        byte = None if table.first_byte is None else table.first_byte + at * row_bytes
        crc32 = None if table.crc32 is None else table.crc32[at:last]
        read_into(Stretch(path, view, at, last - at, byte, crc32), features)
        crc32 = row_crc32(features) if crc32 is None else crc32
        yield Piece(first + at - begin, features, table.starts[at:last], crc32)


class _Counted:
    """A flat view while files are counted."""

    def __init__(self, n_videos: int) -> None:
        self._count = np.zeros(n_videos, np.int64)
        self._dims: dict[int, Path] = {}
        self._donor: list[str] | None = None
        self._gamma = np.full(n_videos, np.nan, np.float32)

    def add(self, path: Path, table: ViewTable, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        self._dims.setdefault(table.dim, path)
        self._count[numbers] = table.offsets[rows + 1] - table.offsets[rows]

    def mix(
        self, donor: Sequence[str], gamma: NDArray[np.float32], rows: NDArray[np.int64], numbers: NDArray[np.int64]
    ) -> None:
        if self._donor is None:
            self._donor = [""] * len(self._count)
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
            self._donor[number] = donor[row]
        self._gamma[numbers] = gamma[rows]

    def finished(self, name: str) -> FlatView:
        if len(self._dims) != 1:
            found = [f"{dim:,} numbers a clip in {path.name}" for dim, path in self._dims.items()]
            raise CacheError("the shards of this cache hold features of different lengths", found)
        (dim,) = self._dims
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._count)))
        return FlatView(name, dim, offsets, self._donor, self._gamma if self._donor is not None else None)

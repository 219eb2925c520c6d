"""Arrays in chunks: backgrounds, and what others have repacked. Every chunk is there, and none is large."""

from __future__ import annotations

import math
import struct

from comix_fast.cache.hdf5.blocks import Blocks

MOST_CHUNK = 1 << 26
_UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_MOST_ENTRIES = 64


def check_chunks(blocks: Blocks, here: str, shape: tuple[int, ...], item: int, layout: bytes, filters: bytes) -> None:
    """Raises CacheError unless all chunks of an array are in the file, in a form that HDF5 reads without plug-ins."""
    rank = len(shape)
    if layout[2] != rank + 1 or len(layout) < 11 + 4 * (rank + 1):
        blocks.refuse(f"{here} has chunks of another form")
    (tree,) = struct.unpack_from("<Q", layout, 3)
    *chunk, last = struct.unpack_from(f"<{rank + 1}I", layout, 11)
    if last != item or not all(chunk) or math.prod(chunk) * item > MOST_CHUNK:
        blocks.refuse(f"{here} has chunks of another form")
    _check_filters(blocks, here, item, filters)
    expected = math.prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))
    n_chunks = n_bytes = 0
    if expected and tree != _UNDEFINED:
        n_chunks, n_bytes = _Tree(blocks, here, shape, chunk, expected).walked(tree)
    if n_chunks != expected:
        blocks.refuse(f"{here} has {n_chunks:,} chunks and should have {expected:,}")
    if not filters and n_bytes != expected * math.prod(chunk) * item:
        blocks.refuse(f"{here} has chunks that are too short")


def _check_filters(blocks: Blocks, here: str, item: int, filters: bytes) -> None:
    if not filters:
        return
    version, count = filters[0], filters[1]
    at, seen = 8, set()
    for _ in range(count if version == 1 else 0):
        if at + 8 > len(filters):
            break
        kind, n_name, flags, n_values = struct.unpack_from("<4H", filters, at)
        at += 8 + n_name
        values = filters[at : at + 4 * n_values]
        at += 4 * (n_values + n_values % 2)
        plain = {_DEFLATE: n_values == 1, _SHUFFLE: values == struct.pack("<I", item), _FLETCHER32: not n_values}
        if not plain.get(kind, False) or kind in seen or flags > 1 or n_name % 8 or n_name > 64:
            break
        seen.add(kind)
    if version != 1 or not 0 < count == len(seen) or at > len(filters):
        blocks.refuse(f"{here} is packed in a way that takes more than HDF5 itself (gzip, shuffle, fletcher32)")


class _Tree:
    """The tree of one array's chunks."""

    def __init__(self, blocks: Blocks, here: str, shape: tuple[int, ...], chunk: list[int], expected: int) -> None:
        self.blocks = blocks
        self.what = f"the table of chunks of {here}"
        self.limits = list(zip(shape, chunk, strict=True))
        self.expected = expected
        self.key = struct.Struct(f"<II{len(shape) + 1}QQ")
        self.node_bytes = 24 + _MOST_ENTRIES * self.key.size + self.key.size - 8

    def walked(self, tree: int) -> tuple[int, int]:
        """How many chunks there are, each once and all in the file, and their bytes."""
        seen: set[tuple[int, ...]] = set()
        n_bytes = 0
        ahead: list[tuple[int, int]] = [(tree, -1)]
        while ahead:
            at, level = ahead.pop()
            node = self.blocks.take(at, self.node_bytes, self.what)
            sign, kind, own, count, left, right = struct.unpack_from("<4sBBHQQ", node)
            siblings = all(one == _UNDEFINED or one < self.blocks.n_bytes for one in (left, right))
            if (
                sign != b"TREE"
                or kind != 1
                or count > _MOST_ENTRIES
                or not siblings
                or own != (level - 1 if level >= 0 else own)
            ):
                self.blocks.refuse(f"{self.what} is of another form")
            for number in range(count):
                size, mask, *place, child = self.key.unpack_from(node, 24 + number * self.key.size)
                if own:
                    ahead.append((child, own))
                    continue
                if tuple(place) in seen or len(seen) >= self.expected or mask > 7 or not self._inside(place):
                    self.blocks.refuse(f"{self.what} is of another form")
                seen.add(tuple(place))
                self.blocks.claim(child, size, self.what)
                n_bytes += size
        return len(seen), n_bytes

    def _inside(self, place: list[int]) -> bool:
        *place, last = place
        return not last and all(
            at < size and at % step == 0 for at, (size, step) in zip(place, self.limits, strict=True)
        )

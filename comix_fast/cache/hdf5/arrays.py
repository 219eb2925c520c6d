"""Arrays in an HDF5 file: of numbers or texts, all of their bytes in the file."""

from __future__ import annotations

import math
import struct

from comix_fast.cache.hdf5.blocks import Blocks
from comix_fast.cache.hdf5.chunks import check_chunks
from comix_fast.cache.hdf5.heaps import TEXT_TYPE, Heaps

_INTEGERS = {
    struct.pack("<BBHIHH", 0x10, big_endian | signed, 0, size, 0, 8 * size): size
    for size in (1, 2, 4, 8)
    for big_endian in (0, 1)
    for signed in (0, 8)
}
# Of IEEE 754: bytes, place of the sign, place and size of the exponent, size of the mantissa, bias.
_FLOATS = {
    struct.pack("<4BIHH4BI", 0x11, 0x20 | big_endian, sign, 0, size, 0, 8 * size, *places, bias): size
    for size, sign, places, bias in (
        (2, 15, (10, 5, 0, 10), 15),
        (4, 31, (23, 8, 0, 23), 127),
        (8, 63, (52, 11, 0, 52), 1023),
    )
    for big_endian in (0, 1)
}
TYPES = _INTEGERS | _FLOATS | {TEXT_TYPE: 16}
"""Bytes an item of each type, by the message of HDF5 that stands for it: numbers, and texts."""
LONGEST = 1 << 40
MOST_DIMENSIONS = 4
_IN_ONE_PIECE, _IN_CHUNKS = 1, 2
_UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF


def check_array(
    blocks: Blocks, heaps: Heaps, here: str, space: bytes, kind: bytes, layout: bytes, filters: bytes
) -> tuple[tuple[int, ...], bytes | None]:
    """Raises CacheError unless an array, by its messages, is one that a cache can hold and lies in the file.

    Gives its shape, and the references of an array of texts.
    """
    refuse = blocks.refuse
    shape = _shape(space)
    length = {0x10: 12, 0x11: 20}.get(kind[0] if kind else 0, len(TEXT_TYPE))
    known = kind[:length]
    if shape is None or known not in TYPES or any(kind[length:]) or len(layout) < 24 or layout[0] != 3:
        refuse(f"{here} is no array of numbers or texts that it holds itself")
    item = TYPES[known]
    n_items = math.prod(shape)
    if layout[1] == _IN_CHUNKS and known != TEXT_TYPE and shape:
        check_chunks(blocks, here, shape, item, layout, filters)
        return shape, None
    at, n_bytes = struct.unpack_from("<QQ", layout, 2)
    if layout[1] != _IN_ONE_PIECE or filters:
        refuse(f"{here} is no array of numbers or texts that it holds itself")
    if n_bytes != n_items * item or (n_bytes and at == _UNDEFINED):
        refuse(f"{here} should have {n_items * item:,} bytes, it has {0 if at == _UNDEFINED else n_bytes:,}")
    if n_bytes:
        blocks.claim(at, n_bytes, here)
    if known != TEXT_TYPE:
        return shape, None
    references = blocks.read(at, n_bytes, here) if n_bytes else b""
    heaps.check_texts(references, n_items, here)
    return shape, references


def _shape(space: bytes) -> tuple[int, ...] | None:
    """From its message; None if it is not one that a cache's array has."""
    if len(space) < 8 or space[0] != 1 or space[1] > MOST_DIMENSIONS or space[2] > 1:
        return None
    rank, limited = space[1], space[2]
    if len(space) != 8 + 8 * rank * (1 + limited):
        return None
    shape: tuple[int, ...] = struct.unpack_from(f"<{rank}Q", space, 8)
    return shape if all(size <= LONGEST for size in shape) else None

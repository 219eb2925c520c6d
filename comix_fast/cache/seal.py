"""The seal at the end of a file of a cache: hashes that tell, before HDF5 looks at it, whether it is what was written.

    <HDF5 file><JSON: bytes, sha256, index_sha256, features><"comix-seal 1 NNNNNNNN CCCCCCCC\n">

N: length of the JSON, decimal; C: its CRC-32, hexadecimal.

HDF5 ignores what follows its own end. The index is all of the file but the features: small, and hashed whenever the
file is opened, so that HDF5 never parses damaged structure. Features are checked row by row as they are read (crc.py),
and the whole file by `comix cache verify`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from comix_fast.cache.plain_files import open_plain
from comix_fast.errors import CacheError

MAGIC = b"comix-seal 1 "
FOOTER_BYTES = len(MAGIC) + 18
MOST_JSON = 1 << 20
MOST_INDEX = 1 << 34
"""Bytes beside the features, at 12 a clip and some hundred a video: beyond what fits into the memory of a reader."""
READ_BYTES = 1 << 20
DAMAGED = "the file is damaged: delete it and run the same extract again, which fills the gap"


@dataclass(frozen=True)
class Seal:
    """What a file was when it was written.

    n_bytes: of the file without the seal. sha256: of these bytes. index_sha256: of those among them that are not
    features. features: (first byte, number of bytes) of each array of features, in the order of the file.
    """

    n_bytes: int
    sha256: str
    index_sha256: str
    features: tuple[tuple[int, int], ...]

    def encoded(self) -> bytes:
        """The bytes that end the file."""
        value = {
            "bytes": self.n_bytes,
            "sha256": self.sha256,
            "index_sha256": self.index_sha256,
            "features": [list(span) for span in self.features],
        }
        text = json.dumps(value, separators=(",", ":")).encode()
        return text + MAGIC + b"%08d %08x\n" % (len(text), zlib.crc32(text))


def seal_of(content: memoryview | bytes, features: Sequence[tuple[int, int]]) -> Seal:
    """The seal of a file in memory; features: the spans of its features, disjoint, in any order."""
    spans = tuple(sorted(features))
    view = memoryview(content)
    index = hashlib.sha256()
    for first, last in _outside(spans, len(view)):
        index.update(view[first:last])
    return Seal(len(view), hashlib.sha256(view).hexdigest(), index.hexdigest(), spans)


def read_seal(file: BinaryIO, where: str) -> Seal | None:
    """The seal of an open file; None if it has none. Raises CacheError if it is damaged, or not that of the file."""
    size = file.seek(0, os.SEEK_END)
    if size < FOOTER_BYTES:
        return None
    file.seek(size - FOOTER_BYTES)
    footer = file.read(FOOTER_BYTES)
    if not footer.startswith(MAGIC):
        return None
    length = footer[len(MAGIC) : len(MAGIC) + 8]
    if not length.isdigit() or int(length) > min(MOST_JSON, size - FOOTER_BYTES):
        raise CacheError(f"{where} has a damaged seal", hint=DAMAGED)
    file.seek(size - FOOTER_BYTES - int(length))
    text = file.read(int(length))
    seal = _parsed(text)
    if seal is None or seal.encoded() != text + footer:
        raise CacheError(f"{where} has a damaged seal", hint=DAMAGED)
    if seal.n_bytes != size - len(text) - len(footer):
        found = size - len(text) - len(footer)
        raise CacheError(f"{where} has {found:,} bytes, its seal says {seal.n_bytes:,}", hint=DAMAGED)
    return seal


def check_index(path: Path) -> Seal | None:
    """The seal of a file whose index is as it was written; None for a file without a seal.

    Raises CacheError if the index or the seal is damaged, OSError if the file can't be read.
    """
    with open_plain(path) as file:
        return check_index_of(file, str(path))


def check_index_of(file: BinaryIO, where: str) -> Seal | None:
    """As check_index, of an open file."""
    seal = read_seal(file, where)
    if seal is not None:
        n_bytes = seal.n_bytes - sum(count for _, count in seal.features)
        if n_bytes > MOST_INDEX:
            raise CacheError(f"{where} has {n_bytes:,} bytes beside its features, at most {MOST_INDEX:,} are read")
        if _hashed(file, _outside(seal.features, seal.n_bytes)) != seal.index_sha256:
            raise CacheError(f"{where} is not what was written: its structure has changed", hint=DAMAGED)
    return seal


def check_whole(path: Path) -> Seal | None:
    """The seal of a file every byte of which is as it was written; None for a file without a seal.

    Raises CacheError and OSError as check_index does.
    """
    seal = check_index(path)
    if seal is not None:
        with open_plain(path) as file:
            if _hashed(file, [(0, seal.n_bytes)]) != seal.sha256:
                raise CacheError(f"{path} is not what was written: its features have changed", hint=DAMAGED)
    return seal


def _outside(spans: Sequence[tuple[int, int]], n_bytes: int) -> Iterator[tuple[int, int]]:
    """(first, last) of the stretches of a file between its spans."""
    edges = [0, *itertools.chain.from_iterable((first, first + count) for first, count in spans), n_bytes]
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if last > first:
            yield first, last


def _hashed(file: BinaryIO, stretches: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> str:
    digest = hashlib.sha256()
    for first, last in stretches:
        file.seek(first)
        left = last - first
        while left and (read := file.read(min(READ_BYTES, left))):
            digest.update(read)
            left -= len(read)
    return digest.hexdigest()


def _parsed(text: bytes) -> Seal | None:
    try:
        value: Any = json.loads(text)
        spans = tuple((int(first), int(count)) for first, count in value["features"])
        seal = Seal(int(value["bytes"]), str(value["sha256"]), str(value["index_sha256"]), spans)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    last = 0
    for first, count in seal.features:
        if first < last or count < 0:
            return None
        last = first + count
    return seal if last <= seal.n_bytes else None

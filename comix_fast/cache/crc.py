"""A checksum for every row of features: checked whenever the row is read, so that no flipped bit is trained on."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from comix_fast.errors import CacheError, first_few


def row_crc32(features: NDArray[np.float16]) -> NDArray[np.uint32]:
    """[n, D] -> [n] uint32: CRC-32 (as zlib's) of each row's little-endian bytes."""
    rows = np.ascontiguousarray(features, "<f2")
    view = rows.reshape(-1).view(np.uint8).data
    size = rows.shape[1] * rows.itemsize
    return np.fromiter((zlib.crc32(view[at : at + size]) for at in range(0, len(view), size or 1)), np.uint32)


def require_rows(
    features: NDArray[np.float16], expected: NDArray[np.uint32] | None, where: str, first: int = 0
) -> None:
    """Raises CacheError unless the rows [n, D] are those whose checksums [n] are expected.

    expected: None for caches of form 1, which have none. where: the file and the view. first: number of the first row.
    """
    if expected is None:
        return
    wrong = np.flatnonzero(row_crc32(features) != expected) + first
    if len(wrong):
        raise CacheError(
            f"{where}: {len(wrong):,} of {len(features):,} rows of features read are not what was written "
            f"({first_few(str(row) for row in wrong)})",
            hint="the file is damaged: delete a shard and run the same extract again, which fills the gap; copy a "
            "compacted file once more. comix cache verify looks for more of it",
        )

"""What opening a cache asks of each of its shards, read without the HDF5 library: a cache may have many shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comix_fast.cache.format import MADE_WITH
from comix_fast.cache.reading import check_marks, looked_through, require_once
from comix_fast.cache.seal import DAMAGED
from comix_fast.errors import CacheError

COLUMNS = ("id", "sha256", "label", "n_frames", "fps", "n_bytes")


@dataclass(frozen=True)
class ShardIndex:
    """Whose shard it is, and what is in it. key, domain, made_with: None where it does not say."""

    key: str | None
    domain: str | None
    made_with: str | None
    views: tuple[str, ...]
    ids: tuple[str, ...]


def read_index(path: Path) -> ShardIndex:
    """Of a shard whose structure and marks are in order, each video named once. Raises CacheError otherwise."""
    where = str(path)
    with looked_through(path, "comix-shard") as structure:
        for element, encoding in (("/views", "group"), ("/videos", "video-table"), ("/videos/id", "string-array")):
            if element not in structure:
                raise CacheError(f"{where}:{element} is missing", hint=DAMAGED)
            check_marks(structure, element, encoding, where)
        views, ids = structure.members.get("/views"), structure.texts("/videos/id")
        if (
            views is None
            or ids is None
            or {structure.shapes.get(f"/videos/{name}") for name in COLUMNS} != {(len(ids),)}
        ):
            raise CacheError(f"{where} has no views, or columns of different lengths", hint=DAMAGED)
        require_once(ids, where)
        key, domain, made_with = (structure.attribute("/", name) for name in ("key", "domain", MADE_WITH))
    return ShardIndex(key, domain, made_with, tuple(views), tuple(ids))

"""A cache compacted into one file: read in place, video by video, however large it is.

    FILE.h5
      how-to-read (attribute)                    in five lines, for those who have h5py alone
      manifest, dataset, failures                the JSON files of the folder, as text
      videos/{id, domain, label, n_frames, fps, sha256, n_bytes}      one value a video
      views/NAME/{features, crc32, starts, offsets, donor, gamma}     one row a clip; rows offsets[i]:offsets[i + 1]
                                                                      are video i's, none if it has no such view

Marked, sealed and checked as shards are.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.crc import require_rows
from comix_fast.cache.lists import DOMAINS
from comix_fast.cache.parts import PartRecord
from comix_fast.cache.reading import (
    open_array,
    open_file,
    read_array,
    read_group,
    read_ids,
    read_videos,
    read_view_table,
    said_by_hdf5,
)
from comix_fast.cache.store import Mixing, failure_lines, read_mixing, require_key
from comix_fast.cache.stored_json import parse_json
from comix_fast.config import PLAIN
from comix_fast.errors import CacheError

COMPACT = "comix-compact"
DOCUMENTS = {"manifest": "comix-cache", "dataset": "comix-dataset", "failures": "comix-failures"}
"""What is kept as text, and the marks in it."""
DAMAGED = "the file is damaged: copy it once more, or make it again with comix cache compact"
_HDF5 = b"\x89HDF"


def _opened(path: Path) -> h5py.File:
    """A compacted cache's file, checked; its errors do not advise to delete what somebody was given."""
    try:
        with path.open("rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                raise CacheError(
                    f"{path} holds no feature cache",
                    hint="a cache is a folder that comix extract made, or a file that comix cache compact made",
                )
        return open_file(path, COMPACT)
    except OSError as error:
        raise CacheError(f"{path} can't be read: {error.strerror or error}") from error
    except CacheError as error:
        hint = DAMAGED if "damaged" in error.hint else error.hint
        raise CacheError(error.message, error.details, hint) from error


class CompactFile:
    """A compacted cache. Raises CacheError if it is damaged, foreign or newer; its structure is hashed once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = _identity(path)
        with _opened(path) as file:
            where = str(path)
            self.manifest: Mapping[str, Any] = _document(file, "manifest", where)
            self.dataset: Mapping[str, Any] = _document(file, "dataset", where)
            listed = _document(file, "failures", where).get("failures")
            ids = read_ids(file, where)
            domains = read_array(file["videos"], "domain", where, "string-array")
            self._made_with = _texts(file.attrs.get(form.MADE_WITH))
            self._views = _in_order(read_group(file, "views", where, "group"))
        require_key(self.manifest, where)
        self._failures = failure_lines(listed, where)
        self._domains: tuple[str, ...] = tuple(domains)
        self.where: dict[str, tuple[Path, int]] = {video: (path, row) for row, video in enumerate(ids)}
        if len(self.where) != len(ids) or len(self._domains) != len(ids) or set(domains) - set(DOMAINS):
            raise CacheError(f"{path}:/videos names a video twice, or a domain that is none", hint=DAMAGED)
        self._rows = functools.cache(self._read_rows)
        self._offsets = functools.cache(self._read_offsets)
        self._table = functools.lru_cache(len(self._views) or 1)(self._read_table)

    def _open(self) -> h5py.File:
        if _identity(self.path) != self._known:
            raise CacheError(f"{self.path} has changed since it was opened", hint="run the command again")
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise CacheError(f"{self.path} can't be read as HDF5: {error}", hint=DAMAGED) from error

    def _read_rows(self) -> list[form.VideoRow]:
        with self._open() as file:
            return read_videos(file, str(self.path))

    def _read_offsets(self, view: str) -> NDArray[np.int64]:
        with self._open() as file:
            group = read_group(read_group(file, "views", str(self.path), "group"), view, str(self.path), "view")
            offsets: NDArray[np.int64] = read_array(group, "offsets", str(self.path))
        if offsets.shape != (len(self.where) + 1,):
            raise CacheError(f"{self.path}:/views/{view} has arrays that do not fit together", hint=DAMAGED)
        return offsets

    def _read_table(self, view: str) -> form.ViewTable:
        with self._open() as file:
            table = read_view_table(file, view, len(self.where), str(self.path))
        if table.first_byte is None and len(table.starts):
            raise CacheError(f"{self.path}:/views/{view} has features that are not in one piece", hint=DAMAGED)
        return table

    @property
    def files(self) -> Sequence[Path]:
        return (self.path,)

    def n_bytes(self) -> int:
        return self.path.stat().st_size

    def made_with(self) -> set[str]:
        return self._made_with

    def failures(self) -> tuple[Mapping[str, str], ...]:
        return self._failures

    def records(self) -> Sequence[PartRecord]:
        return ()

    def rows(self, path: Path) -> list[form.VideoRow]:
        return self._rows()

    def domain(self, path: Path, row: int) -> str:
        return self._domains[row]

    def views_of(self, path: Path) -> tuple[str, ...]:
        return self._views

    def views(self, video: str) -> tuple[str, ...]:
        _, row = self.where[video]
        return tuple(view for view in self._views if self._offsets(view)[row + 1] > self._offsets(view)[row])

    def tables(self, path: Path, views: Sequence[str]) -> list[form.ViewTable]:
        return [self._table(view) for view in views]

    def mixing(self, path: Path, views: Sequence[str]) -> list[Mixing | None]:
        with self._open() as file:
            return [read_mixing(file, view, len(self.where), str(self.path)) for view in views]

    def clips(self, path: Path, row: int, view: str) -> form.ViewClips:
        table = self._table(view)
        first, last = int(table.offsets[row]), int(table.offsets[row + 1])
        where = f"{path}, view {view}"
        with self._open() as file:
            group = file["views"][view]
            with said_by_hdf5(where):
                features: NDArray[np.float16] = group["features"][first:last]
                mixed = "donor" in group
                donor = group["donor"].asstr()[row] if mixed else None
                gamma = float(group["gamma"][row]) if mixed else None
        require_rows(features, None if table.crc32 is None else table.crc32[first:last], where, first)
        return form.ViewClips(features, table.starts[first:last], donor, gamma)


def read_compact_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a compacted cache, its key checked."""
    with _opened(path) as file:
        manifest = _document(file, "manifest", str(path))
    require_key(manifest, str(path))
    return manifest


def _document(file: h5py.File, name: str, where: str) -> dict[str, Any]:
    element = open_array(file, name, where, "string")
    with said_by_hdf5(f"{where}:/{name}"):
        text = element.asstr()[()]
    try:
        value = parse_json(text.encode())
    except ValueError as error:
        raise CacheError(f"{where}:/{name} can't be read: {error}", hint=DAMAGED) from error
    if not isinstance(value, dict):
        raise CacheError(f"{where}:/{name} does not hold a {DOCUMENTS[name]}", hint="the file is foreign or damaged")
    found = value.get(form.ENCODING_TYPE), value.get(form.ENCODING_VERSION)
    form.check_encoding(*found, DOCUMENTS[name], f"{where}:/{name}")
    return value


def _texts(listed: object) -> set[str]:
    try:
        value = json.loads(listed) if isinstance(listed, str) else ()
    except (ValueError, RecursionError):
        return set()
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _in_order(views: h5py.Group) -> tuple[str, ...]:
    return tuple(sorted(views, key=lambda name: (name != PLAIN, name)))


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

"""Where the features of a cache are: in a folder of shards. compact_file.py has the other place, one file."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.index import read_index
from comix_fast.cache.lists import DOMAINS, require_text
from comix_fast.cache.parts import PartRecord, read_records
from comix_fast.cache.plain_files import stored_files
from comix_fast.cache.reading import (
    open_file,
    read_array,
    read_group,
    read_videos,
    read_view,
    read_view_table,
)
from comix_fast.cache.shapes import check_manifest
from comix_fast.cache.stored_json import read_json, read_marked
from comix_fast.config import digest, mixed_views
from comix_fast.errors import CacheError, first_few
from comix_fast.files import size_of

OPEN_SHARDS = 2

Mixing = tuple[list[str], NDArray[np.float32]]
"""Donor ids and gammas of one view, of every video of a file; "" and NaN where a video has no such view."""


class Store(Protocol):
    """A cache on disk."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Its JSON, with its marks."""

    @property
    def dataset(self) -> Mapping[str, Any]:
        """Its JSON, with its marks."""

    @property
    def where(self) -> Mapping[str, tuple[Path, int]]:
        """File and place there, by video id."""

    @property
    def files(self) -> Sequence[Path]:
        """The HDF5 files that hold features."""

    def n_bytes(self) -> int:
        """Size of all files."""

    def made_with(self) -> set[str]:
        """What computed the features, as JSON of versions."""

    def failures(self) -> tuple[Mapping[str, str], ...]:
        """The videos that could not be read."""

    def records(self) -> Sequence[PartRecord]:
        """Of parts that have not been joined yet."""

    def rows(self, path: Path) -> list[form.VideoRow]:
        """The videos of a file."""

    def domain(self, path: Path, row: int) -> str:
        """The domain of one of them."""

    def views_of(self, path: Path) -> tuple[str, ...]:
        """The views that a file has of some videos."""

    def views(self, video: str) -> tuple[str, ...]:
        """The views that a video has."""

    def tables(self, path: Path, views: Sequence[str]) -> list[form.ViewTable]:
        """Where the clips of some views of a file lie."""

    def mixing(self, path: Path, views: Sequence[str]) -> list[Mixing | None]:
        """Donors and gammas of some views of a file; None for a view without mixing."""

    def clips(self, path: Path, row: int, view: str) -> form.ViewClips:
        """One view, which it has, of a file's video number `row`."""


class ShardFolder:
    """A cache as stage one writes it: a folder of shards and JSON files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest: Mapping[str, Any] = read_folder_manifest(root)
        self.dataset: Mapping[str, Any] = read_marked(root / form.DATASET, "comix-dataset")
        self.where: dict[str, tuple[Path, int]] = {}
        self._ids: dict[Path, tuple[str, ...]] = {}
        self._views: dict[Path, tuple[str, ...]] = {}
        self._domain: dict[Path, str] = {}
        self._made_with: dict[Path, str] = {}
        for shard in stored_files(root, form.SHARDS, ".h5"):
            self._index(shard)
        self._rows = functools.cache(self._read_videos)
        # One small LRU per cache object: whole views of a shard, so that video-wise access stays cheap.
        n_views = len(self.manifest["recipe"]["views"]) + len(stated_mixes(self.manifest))
        self._view = functools.lru_cache(OPEN_SHARDS * n_views)(self._read_view)

    def _index(self, path: Path) -> None:
        index = read_index(path)
        if index.key != self.manifest["key"]:
            raise CacheError(f"{path} belongs to another recipe", hint="move it out of this cache")
        if index.domain not in DOMAINS:
            raise CacheError(f"{path} is of no domain: {index.domain!r:.80}", hint="the file is foreign or damaged")
        if odd := sorted(set(index.views) - set(self.manifest["recipe"]["views"]) - set(stated_mixes(self.manifest))):
            raise CacheError(f"{path} has views that the recipe has not: {first_few(odd)}", hint="the file is foreign")
        self._made_with[path] = index.made_with or ""
        self._views[path], self._ids[path], self._domain[path] = index.views, index.ids, index.domain
        for row, video in enumerate(index.ids):
            if video in self.where:
                other = self.where[video][0].name
                raise CacheError(f"{video} is in two shards, {other} and {path.name}", hint="remove one")
            self.where[video] = path, row

    def _read_videos(self, path: Path) -> list[form.VideoRow]:
        with open_file(path, "comix-shard") as file:
            return read_videos(file, str(path))

    def _read_view(self, path: Path, view: str) -> form.ShardView:
        with open_file(path, "comix-shard") as file:
            return read_view(file, view, len(self._ids[path]), str(path))

    @property
    def files(self) -> Sequence[Path]:
        return tuple(self._ids)

    def ids(self, path: Path) -> tuple[str, ...]:
        """The videos of a shard, by name alone."""
        return self._ids[path]

    def n_bytes(self) -> int:
        return sum(size_of(path) for path in self.root.rglob("*"))

    def made_with(self) -> set[str]:
        return set(self._made_with.values()) - {""}

    def failures(self) -> tuple[Mapping[str, str], ...]:
        path = self.root / form.FAILURES
        whole = read_failures(path) if path.exists() or path.is_symlink() else ()
        parts = [one for record in self.records() for one in record.failures]
        # What one run failed at, a part or a later run may have done.
        return tuple({one.get("id"): one for one in (*whole, *parts) if one.get("id") not in self.where}.values())

    def records(self) -> Sequence[PartRecord]:
        return read_records(self.root)

    def rows(self, path: Path) -> list[form.VideoRow]:
        return self._rows(path)

    def domain(self, path: Path, row: int) -> str:
        return self._domain[path]

    def views_of(self, path: Path) -> tuple[str, ...]:
        return self._views[path]

    def views(self, video: str) -> tuple[str, ...]:
        return self._views[self.where[video][0]]

    def tables(self, path: Path, views: Sequence[str]) -> list[form.ViewTable]:
        with open_file(path, "comix-shard") as file:
            return [read_view_table(file, view, len(self._ids[path]), str(path)) for view in views]

    def mixing(self, path: Path, views: Sequence[str]) -> list[Mixing | None]:
        with open_file(path, "comix-shard") as file:
            return [read_mixing(file, view, len(self._ids[path]), str(path)) for view in views]

    def clips(self, path: Path, row: int, view: str) -> form.ViewClips:
        flat = self._view(path, view)
        rows = slice(int(flat.offsets[row]), int(flat.offsets[row + 1]))
        return form.ViewClips(
            flat.features[rows],
            flat.starts[rows],
            None if flat.donor is None else flat.donor[row],
            None if flat.gamma is None else float(flat.gamma[row]),
        )


def read_mixing(file: h5py.File, view: str, n_videos: int, where: str) -> Mixing | None:
    """Donors and gammas of one view of an open file. Raises CacheError if they are not one for each video."""
    group = read_group(read_group(file, "views", where, "group"), view, where, "view")
    if "donor" not in group:
        return None
    donor: list[str] = read_array(group, "donor", where, "string-array")
    gamma: NDArray[np.float32] = read_array(group, "gamma", where)
    if not len(donor) == len(gamma) == n_videos:
        raise CacheError(f"{where}:/views/{view} has arrays that do not fit together", hint="the file is damaged")
    return donor, gamma


def read_folder_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a folder, its key checked."""
    manifest = read_marked(root / form.MANIFEST, "comix-cache")
    require_key(manifest, str(root / form.MANIFEST))
    return manifest


def require_key(manifest: Mapping[str, Any], where: str) -> None:
    """Raises CacheError unless the key is that of the recipe, and the recipe and the warnings are as they should be."""
    if manifest.get("key") != digest(manifest.get("recipe")):
        raise CacheError(
            f"{where}: the key is not that of the recipe",
            hint="somebody edited it; the features still belong to the recipe they were made with",
        )
    check_manifest(manifest, where)
    require_text(manifest.get("warnings", ()), where)


def stated_mixes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the draws of background mixing that a recipe has, one that was checked."""
    return mixed_views(manifest["recipe"]["views"].get("bgmix", {}).get("draws", 0))


def read_failures(path: Path) -> tuple[Mapping[str, str], ...]:
    """The lines of a failures.json: id, path, reason. Raises CacheError if it is damaged."""
    # In caches of form 1 it is a bare list.
    value = read_json(path)
    listed = value if isinstance(value, list) else read_marked(path, "comix-failures").get("failures")
    return failure_lines(listed, str(path))


def failure_lines(listed: Any, where: str) -> tuple[Mapping[str, str], ...]:
    """Failures from their JSON. Raises CacheError if they are no list of objects."""
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise CacheError(f"{where} holds no list of failures", hint="delete it; the next extract writes it again")
    lines = tuple({str(name): str(text) for name, text in one.items()} for one in listed)
    require_text((text for one in lines for line in one.items() for text in line), where)
    return lines

"""How the HDF5 files of a cache are read: nothing in them is believed that can be checked cheaply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from comix_fast.cache.crc import require_rows
from comix_fast.cache.format import (
    ENCODING_TYPE,
    ENCODING_VERSION,
    SEALED_SINCE,
    ShardView,
    VideoRow,
    ViewTable,
    check_encoding,
)
from comix_fast.cache.seal import DAMAGED, check_index
from comix_fast.errors import CacheError


def open_array(group: h5py.Group, name: str, where: str, encoding: str = "array") -> h5py.Dataset:
    """An array of a marked group, unread. Raises CacheError if it is absent, a group, or of another encoding."""
    element = group.get(name)
    here = f"{where}:{group.name.rstrip('/')}/{name}"
    if not isinstance(element, h5py.Dataset):
        raise CacheError(f"{here} is missing", hint="the file is damaged: delete it and run extract again")
    check_encoding(element.attrs.get(ENCODING_TYPE), element.attrs.get(ENCODING_VERSION), encoding, here)
    return element


def read_array(group: h5py.Group, name: str, where: str, encoding: str = "array") -> Any:
    """An array of a marked group, whole. Raises CacheError as open_array does, and if its bytes can't be read."""
    element = open_array(group, name, where, encoding)
    try:
        return element.asstr()[...].tolist() if encoding == "string-array" else element[...]
    except (OSError, ValueError) as error:
        raise CacheError(
            f"{where}:{element.name} can't be read: {error}",
            hint="the file is damaged: delete it and run extract again",
        ) from error


def read_group(group: h5py.Group, name: str, where: str, encoding: str) -> h5py.Group:
    """A marked sub-group. Raises CacheError if it is absent or of another encoding."""
    element = group.get(name)
    here = f"{where}:{group.name.rstrip('/')}/{name}"
    if not isinstance(element, h5py.Group):
        raise CacheError(f"{here} is missing", hint="the file is damaged: delete it and run extract again")
    check_encoding(element.attrs.get(ENCODING_TYPE), element.attrs.get(ENCODING_VERSION), encoding, here)
    return element


def read_ids(file: h5py.Group, where: str) -> list[str]:
    """The names alone of a file's videos: opening a cache needs no more of them."""
    ids: list[str] = read_array(read_group(file, "videos", where, "video-table"), "id", where, "string-array")
    return ids


def read_videos(file: h5py.Group, where: str) -> list[VideoRow]:
    """The table of a file's videos. Raises CacheError if columns are missing or differ in length."""
    table = read_group(file, "videos", where, "video-table")
    ids = read_array(table, "id", where, "string-array")
    hashes = read_array(table, "sha256", where, "string-array")
    numbers = [read_array(table, name, where) for name in ("label", "n_frames", "fps", "n_bytes")]
    if {len(column) for column in (ids, hashes, *numbers)} != {len(ids)}:
        raise CacheError(f"{where}:/videos has columns of different lengths", hint="the file is damaged")
    return [
        VideoRow(video, int(label), int(n_frames), float(fps), sha256, int(n_bytes))
        for video, label, n_frames, fps, n_bytes, sha256 in zip(ids, *numbers, hashes, strict=True)
    ]


def open_file(path: Path, encoding: str) -> h5py.File:
    """An HDF5 file for reading, its marks checked. Raises CacheError if it is truncated, foreign or newer."""
    try:
        seal = check_index(path)
        file = h5py.File(path, "r")
    except OSError as error:
        raise CacheError(f"{path} can't be read as HDF5: {error}", hint=DAMAGED) from error
    try:
        found = file.attrs.get(ENCODING_TYPE), file.attrs.get(ENCODING_VERSION)
        version = check_encoding(*found, encoding, str(path))
        if seal is None and version >= SEALED_SINCE[encoding]:
            raise CacheError(f"{path} has no seal at its end: it is cut short, or was written anew", hint=DAMAGED)
    except CacheError:
        file.close()
        raise
    return file


def read_view_table(file: h5py.File, name: str, n_videos: int, where: str) -> ViewTable:
    """Where the clips of one view of an open shard lie, offsets and shapes checked. Raises CacheError."""
    group = read_group(read_group(file, "views", where, "group"), name, where, "view")
    features = open_array(group, "features", where)
    starts, offsets = (read_array(group, part, where) for part in ("starts", "offsets"))
    crc32 = read_array(group, "crc32", where) if group.attrs[ENCODING_VERSION] != "1" else None
    sound = (
        features.ndim == 2
        and features.dtype.kind == "f"
        and features.dtype.itemsize == 2
        and starts.shape == features.shape[:1]
        and offsets.shape == (n_videos + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(features)
        and bool(np.all(np.diff(offsets) >= 0))
        and (crc32 is None or crc32.shape == starts.shape)
    )
    if not sound:
        raise CacheError(f"{where}:/views/{name} has arrays that do not fit together", hint="the file is damaged")
    # HDF5 gives no position for what is chunked, compressed, kept in other files or never written.
    in_one_piece = features.dtype == np.float16 and not file.userblock_size
    first_byte = features.id.get_offset() if in_one_piece else None
    return ViewTable(starts, offsets, features.shape[1], first_byte, crc32)


def read_view(file: h5py.File, name: str, n_videos: int, where: str) -> ShardView:
    """One view of an open shard, its offsets and shapes checked."""
    table = read_view_table(file, name, n_videos, where)
    group = file["views"][name]
    view = ShardView(read_array(group, "features", where), table.starts, table.offsets, crc32=table.crc32)
    require_rows(view.features, view.crc32, f"{where}, view {name}")
    if "donor" in group:
        view.donor = read_array(group, "donor", where, "string-array")
        view.gamma = read_array(group, "gamma", where)
        if not len(view.donor) == len(view.gamma) == n_videos:
            raise CacheError(f"{where}:/views/{name} has arrays that do not fit together", hint="the file is damaged")
    return view

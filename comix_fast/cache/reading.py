"""How the HDF5 files of a cache are read: nothing in them is believed that can be checked cheaply."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from comix_fast.cache.crc import require_rows
from comix_fast.cache.format import (
    ENCODING_TYPE,
    ENCODING_VERSION,
    SEALED_SINCE,
    UNLABELLED,
    ShardView,
    VideoRow,
    ViewTable,
    check_encoding,
)
from comix_fast.cache.hdf5.structure import Structure, check_structure
from comix_fast.cache.plain_files import open_plain
from comix_fast.cache.seal import DAMAGED, check_index_of
from comix_fast.errors import CacheError, first_few

KINDS = {
    "label": ("<i8", 1),
    "n_frames": ("<i8", 1),
    "fps": ("<f8", 1),
    "n_bytes": ("<i8", 1),
    "starts": ("<i8", 1),
    "offsets": ("<i8", 1),
    "crc32": ("<u4", 1),
    "gamma": ("<f4", 1),
    "backgrounds": ("|u1", 4),
}
"""Type and number of dimensions of each array of numbers; features have checks of their own."""
TEXTS = {"string-array": 1, "string": 0}
MOST_DIM = 1 << 24
MOST_BACKGROUND = 1 << 13
MOST_SWELLING = 16
"""How many times its bytes in the file an array may hold, from BELIEVED bytes on: features shrink to a half at best."""
BELIEVED = 1 << 26
HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What h5py raises on a file that it can make no sense of."""


@contextlib.contextmanager
def said_by_hdf5(where: str) -> Iterator[None]:
    """Turns what h5py raises while the block runs into a CacheError."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise CacheError(f"{where} can't be read: {error!s:.400}", hint=DAMAGED) from error


def open_array(group: h5py.Group, name: str, where: str, encoding: str = "array") -> h5py.Dataset:
    """An array of a marked group, unread.

    Raises CacheError if it is absent, a group, of another encoding, of other numbers than its name stands for, or if it
    would be much larger in memory than in the file.
    """
    here = f"{where}:{group.name.rstrip('/')}/{name}"
    with said_by_hdf5(here):
        element = group.get(name)
        if not isinstance(element, h5py.Dataset):
            raise CacheError(f"{here} is missing", hint="the file is damaged: delete it and run extract again")
        check_encoding(element.attrs.get(ENCODING_TYPE), element.attrs.get(ENCODING_VERSION), encoding, here)
        if encoding in TEXTS:
            sound = h5py.check_string_dtype(element.dtype) is not None and element.ndim == TEXTS[encoding]
        else:
            own = element.dtype.str, element.ndim
            sound = element.dtype.kind in "iuf" and KINDS.get(name, own) == own
        if not sound:
            raise CacheError(f"{here} holds other things than it should: {element.dtype} {element.shape}", hint=DAMAGED)
        if element.chunks and name != "backgrounds" and element.nbytes > BELIEVED:
            stored = element.id.get_storage_size()
            if element.nbytes > MOST_SWELLING * stored:
                raise CacheError(f"{here} would swell from {stored:,} bytes to {element.nbytes:,}", hint=DAMAGED)
    return element


def read_array(group: h5py.Group, name: str, where: str, encoding: str = "array") -> Any:
    """An array of a marked group, whole. Raises CacheError as open_array does, and if its bytes can't be read."""
    element = open_array(group, name, where, encoding)
    with said_by_hdf5(f"{where}:{element.name}"):
        return element.asstr()[...].tolist() if encoding == "string-array" else element[...]


def read_group(group: h5py.Group, name: str, where: str, encoding: str) -> h5py.Group:
    """A marked sub-group. Raises CacheError if it is absent or of another encoding."""
    here = f"{where}:{group.name.rstrip('/')}/{name}"
    with said_by_hdf5(here):
        element = group.get(name)
        if not isinstance(element, h5py.Group):
            raise CacheError(f"{here} is missing", hint="the file is damaged: delete it and run extract again")
        check_encoding(element.attrs.get(ENCODING_TYPE), element.attrs.get(ENCODING_VERSION), encoding, here)
    return element


def read_ids(file: h5py.Group, where: str) -> list[str]:
    """The names alone of a file's videos: opening a cache needs no more. Raises CacheError if one is there twice."""
    ids: list[str] = read_array(read_group(file, "videos", where, "video-table"), "id", where, "string-array")
    require_once(ids, where)
    return ids


def require_once(ids: list[str], where: str) -> None:
    """Raises CacheError if a file names a video twice."""
    if len(set(ids)) != len(ids):
        twice = (repr(video) for video, count in Counter(ids).items() if count > 1)
        raise CacheError(f"{where}:/videos names videos twice: {first_few(twice)}", hint=DAMAGED)


def read_videos(file: h5py.Group, where: str) -> list[VideoRow]:
    """The table of a file's videos. Raises CacheError if columns are missing, differ in length, or can't be true."""
    table = read_group(file, "videos", where, "video-table")
    ids = read_ids(file, where)
    hashes = read_array(table, "sha256", where, "string-array")
    label, n_frames, n_bytes, fps = (read_array(table, name, where) for name in ("label", "n_frames", "n_bytes", "fps"))
    if {len(column) for column in (ids, hashes, label, n_frames, fps, n_bytes)} != {len(ids)}:
        raise CacheError(f"{where}:/videos has columns of different lengths", hint="the file is damaged")
    impossible = (label < UNLABELLED) | (n_frames < 0) | (n_bytes < 0) | (fps < 0) | np.isinf(fps)
    if impossible.any():
        names = first_few(repr(ids[row]) for row in np.flatnonzero(impossible))
        raise CacheError(f"{where}:/videos says what can't be of {names}", hint=DAMAGED)
    columns = (label.tolist(), n_frames.tolist(), fps.tolist(), hashes, n_bytes.tolist())
    return [VideoRow(*values) for values in zip(ids, *columns, strict=True)]


@contextlib.contextmanager
def looked_through(path: Path, encoding: str) -> Iterator[Structure]:
    """The structure of an HDF5 file whose seal, structure and marks are in order, while the block runs.

    Raises CacheError if it is truncated, foreign or newer, or of a structure that the HDF5 library is not trusted with.
    """
    where = str(path)
    try:
        with open_plain(path) as raw:
            seal = check_index_of(raw, where)
            n_bytes = os.fstat(raw.fileno()).st_size if seal is None else seal.n_bytes
            structure = check_structure(raw.fileno(), n_bytes, where, sealed=seal is not None)
            version = check_marks(structure, "/", encoding, where)
            if seal is None and version >= SEALED_SINCE[encoding]:
                raise CacheError(f"{path} has no seal at its end: it is cut short, or was written anew", hint=DAMAGED)
            yield structure
    except OSError as error:
        raise CacheError(f"{where} can't be read: {error}", hint=DAMAGED) from error


def check_marks(structure: Structure, element: str, encoding: str, where: str) -> str:
    """The version of an element by its path, as check_encoding."""
    found = structure.attribute(element, ENCODING_TYPE), structure.attribute(element, ENCODING_VERSION)
    return check_encoding(*found, encoding, where if element == "/" else f"{where}:{element}")


def open_file(path: Path, encoding: str) -> h5py.File:
    """An HDF5 file for reading. Raises CacheError as looked_through does."""
    with looked_through(path, encoding), said_by_hdf5(str(path)):
        return h5py.File(path, "r")


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
        and 1 <= features.shape[1] <= MOST_DIM
        and starts.shape == features.shape[:1]
        and offsets.shape == (n_videos + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(features)
        # Not by differences, which may be too large for their type.
        and bool(np.all(offsets[1:] >= offsets[:-1]))
        and bool(np.all(starts >= 0))
        and (crc32 is None or crc32.shape == starts.shape)
    )
    if not sound:
        raise CacheError(f"{where}:/views/{name} has arrays that do not fit together", hint="the file is damaged")
    # HDF5 gives no position for what is chunked or compressed.
    in_one_piece = features.dtype == np.float16 and not features.chunks
    first_byte = features.id.get_offset() if in_one_piece else None
    return ViewTable(starts, offsets, features.shape[1], first_byte, crc32)


def read_view(file: h5py.File, name: str, n_videos: int, where: str) -> ShardView:
    """One view of an open shard, its offsets and shapes checked."""
    table = read_view_table(file, name, n_videos, where)
    group = file["views"][name]
    # Others may have repacked them as big-endian.
    features = read_array(group, "features", where).astype(np.float16, copy=False)
    view = ShardView(features, table.starts, table.offsets, crc32=table.crc32)
    require_rows(view.features, view.crc32, f"{where}, view {name}")
    if "donor" in group:
        view.donor = read_array(group, "donor", where, "string-array")
        view.gamma = read_array(group, "gamma", where)
        # Neither holds of a NaN, which stands for no mix.
        impossible = bool(np.any((view.gamma < 0) | (view.gamma > 1)))
        if impossible or not len(view.donor) == len(view.gamma) == n_videos:
            raise CacheError(f"{where}:/views/{name} has arrays that do not fit together", hint="the file is damaged")
    return view


def read_background(file: h5py.File, index: int, n_videos: int, where: str) -> Any:
    """uint8 [size, size, 3]: one background of an open file of surveys. Raises CacheError."""
    if "backgrounds" not in file:
        raise CacheError(f"{where} has no backgrounds", hint="delete it and run extract again")
    backgrounds = open_array(file, "backgrounds", where)
    n, height, width, depth = backgrounds.shape
    if n != n_videos or depth != 3 or not 0 < height == width <= MOST_BACKGROUND:
        raise CacheError(f"{where}:/backgrounds has the shape {backgrounds.shape}", hint=DAMAGED)
    with said_by_hdf5(f"{where}:/backgrounds"):
        return backgrounds[index]

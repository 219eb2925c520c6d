"""How the HDF5 files of a cache are written: made in memory, sealed, and moved into place whole."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.cache.crc import row_crc32
from comix_fast.cache.format import MADE_WITH, Shard, VideoRow, mark
from comix_fast.cache.seal import seal_of
from comix_fast.files import write_whole

_STRING = h5py.string_dtype("utf-8")

Fill = Callable[[h5py.File], Sequence[h5py.Dataset]]
"""Fills an empty file; gives the arrays of features in it."""


def write_sealed(path: Path, fill: Fill, tag: str = "") -> None:
    """An HDF5 file with its seal. Raises OSError, and then `path` is as it was.

    It is made in memory, since HDF5 that runs out of disk can neither write nor close its file.
    """
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        features = [_span(array) for array in fill(file)]
    content = image.getbuffer()
    write_whole(path, content, seal_of(content, features).encoded(), tag=tag)


def _span(array: h5py.Dataset) -> tuple[int, int]:
    # HDF5 gives an array its place when it is first written to; an empty one has none.
    place = array.id.get_offset()
    return (int(place), int(array.nbytes)) if place is not None else (0, 0)


def write_array(group: h5py.Group, name: str, values: Any, **storage: Any) -> h5py.Dataset:
    """An array with its marks; str sequences become UTF-8 strings."""
    if isinstance(values, list):
        element = group.create_dataset(name, data=np.array(values, dtype=object), dtype=_STRING)
        mark(element, "string-array")
    else:
        element = group.create_dataset(name, data=values, **storage)
        mark(element, "array")
    return element


def write_group(group: h5py.Group, name: str, encoding: str = "group") -> h5py.Group:
    """An empty marked group."""
    made = group.create_group(name)
    mark(made, encoding)
    return made


def write_videos(file: h5py.Group, rows: Sequence[VideoRow]) -> h5py.Group:
    """The table of a file's videos, one array per column."""
    table = write_group(file, "videos", "video-table")
    write_array(table, "id", [row.id for row in rows])
    write_array(table, "label", np.array([row.label for row in rows], dtype=np.int64))
    write_array(table, "n_frames", np.array([row.n_frames for row in rows], dtype=np.int64))
    write_array(table, "fps", np.array([row.fps for row in rows], dtype=np.float64))
    write_array(table, "n_bytes", np.array([row.n_bytes for row in rows], dtype=np.int64))
    write_array(table, "sha256", [row.sha256 for row in rows])
    return table


def write_shard(path: Path, shard: Shard, tag: str = "") -> None:
    """One shard, whole. Raises OSError."""

    def fill(file: h5py.File) -> list[h5py.Dataset]:
        mark(file, "comix-shard")
        file.attrs["domain"], file.attrs["key"] = shard.domain, shard.key
        file.attrs[MADE_WITH] = json.dumps(dict(shard.made_with), sort_keys=True)
        write_videos(file, shard.videos)
        views, features = write_group(file, "views"), []
        for name, view in shard.views.items():
            group = write_group(views, name, "view")
            features.append(write_array(group, "features", view.features))
            write_array(group, "crc32", row_crc32(view.features))
            write_array(group, "starts", view.starts)
            write_array(group, "offsets", view.offsets)
            if view.donor is not None and view.gamma is not None:
                write_array(group, "donor", view.donor)
                write_array(group, "gamma", view.gamma)
        return features

    write_sealed(path, fill, tag)


def write_survey(
    path: Path,
    domain: str,
    key: str,
    rows: Sequence[VideoRow],
    backgrounds: Sequence[NDArray[np.uint8]] | None,
    tag: str = "",
) -> None:
    """What the first decode of some videos found, whole. Raises OSError."""

    def fill(file: h5py.File) -> list[h5py.Dataset]:
        mark(file, "comix-survey")
        file.attrs["domain"], file.attrs["key"] = domain, key
        write_videos(file, rows)
        if backgrounds is not None:
            stacked = np.stack(backgrounds)
            # One background a chunk, each with a checksum of its own.
            storage = {"chunks": (1, *stacked.shape[1:]), "compression": "gzip", "compression_opts": 4}
            write_array(file, "backgrounds", stacked, **storage, shuffle=True, fletcher32=True)
        return []

    write_sealed(path, fill, tag)

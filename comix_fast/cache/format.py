"""The form of a cache on disk: names, encoding marks, and the arrays of one shard.

    cache/<name>/
      manifest.json            the recipe, its key, warnings
      dataset.json             classes, and for each domain the ids and labels of its train and test lists
      failures.json            videos that could not be read at the last extract, with the reason
      surveys/*.h5             what the first decode found: frames, rate, sha256, background
      shards/*.h5              the features

Every group and array in an HDF5 file carries `encoding-type` and `encoding-version`, so that a file describes
itself and a newer form is recognised before it is misread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.errors import CacheError

MANIFEST = "manifest.json"
DATASET = "dataset.json"
FAILURES = "failures.json"
LOCK = ".lock"
SHARDS = "shards"
SURVEYS = "surveys"
ENCODING_TYPE = "encoding-type"
ENCODING_VERSION = "encoding-version"
VERSIONS = {
    "comix-cache": "1",
    "comix-dataset": "1",
    "comix-shard": "1",
    "comix-survey": "1",
    "video-table": "1",
    "view": "1",
    "group": "1",
    "array": "1",
    "string-array": "1",
}
UNLABELLED = -1
_STRING = h5py.string_dtype("utf-8")


@dataclass(frozen=True)
class VideoRow:
    """One video of a shard. label: class index, or −1; fps: NaN where the file does not say.

    n_bytes: size of the file, or of a segment's frame files together: enough to notice another video of this name.
    """

    id: str
    label: int
    n_frames: int
    fps: float
    sha256: str
    n_bytes: int


@dataclass(frozen=True)
class ViewClips:
    """One view of one video: features [n, D] float16, starts [n] int64 in temporal order.

    donor, gamma: whose background was mixed in and with what weight; None for views without mixing.
    """

    features: NDArray[np.float16]
    starts: NDArray[np.int64]
    donor: str | None = None
    gamma: float | None = None


@dataclass
class ShardView:
    """One view of a whole shard, flat: rows offsets[i]:offsets[i + 1] are video i's."""

    features: NDArray[np.float16]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    donor: list[str] | None = None
    gamma: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ViewTable:
    """Where the clips of one view of a shard lie, their features unread: rows offsets[i]:offsets[i + 1] are video i's.

    starts [n], offsets [V + 1] int64; dim: numbers a clip. first_byte: where in the file the features begin, if they
    are one piece of float16 as this machine has it; None if they must be read through HDF5.
    """

    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    dim: int
    first_byte: int | None


@dataclass
class Shard:
    """All that one shard holds, in memory."""

    domain: str
    key: str
    videos: list[VideoRow] = field(default_factory=list)
    views: dict[str, ShardView] = field(default_factory=dict)


def mark(element: h5py.HLObject, encoding: str) -> None:
    """Writes the element's encoding type and version."""
    element.attrs[ENCODING_TYPE] = encoding
    element.attrs[ENCODING_VERSION] = VERSIONS[encoding]


def check_encoding(found_type: object, found_version: object, encoding: str, where: str) -> None:
    """Raises CacheError unless the marks are those of `encoding`, naming the element."""
    if found_type != encoding:
        raise CacheError(f"{where} is not a {encoding} but {found_type!r}", hint="the file is foreign or damaged")
    if found_version != VERSIONS[encoding]:
        raise CacheError(
            f"{where} has the form {encoding} {found_version}, this comix-fast reads {VERSIONS[encoding]}",
            hint="update comix-fast to read it",
        )


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


def write_array(group: h5py.Group, name: str, values: Any, **storage: Any) -> None:
    """An array with its marks; str sequences become UTF-8 strings."""
    if isinstance(values, list):
        element = group.create_dataset(name, data=np.array(values, dtype=object), dtype=_STRING)
        mark(element, "string-array")
    else:
        mark(group.create_dataset(name, data=values, **storage), "array")


def write_group(group: h5py.Group, name: str, encoding: str = "group") -> h5py.Group:
    """An empty marked group."""
    made = group.create_group(name)
    mark(made, encoding)
    return made


def write_videos(file: h5py.Group, rows: Sequence[VideoRow]) -> None:
    """The table of a file's videos, one array per column."""
    table = write_group(file, "videos", "video-table")
    write_array(table, "id", [row.id for row in rows])
    write_array(table, "label", np.array([row.label for row in rows], dtype=np.int64))
    write_array(table, "n_frames", np.array([row.n_frames for row in rows], dtype=np.int64))
    write_array(table, "fps", np.array([row.fps for row in rows], dtype=np.float64))
    write_array(table, "n_bytes", np.array([row.n_bytes for row in rows], dtype=np.int64))
    write_array(table, "sha256", [row.sha256 for row in rows])


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


def write_shard(path: Path, shard: Shard) -> None:
    """One shard into `path`, which the caller moves into place."""
    with h5py.File(path, "w") as file:
        mark(file, "comix-shard")
        file.attrs["domain"], file.attrs["key"] = shard.domain, shard.key
        write_videos(file, shard.videos)
        views = write_group(file, "views")
        for name, view in shard.views.items():
            group = write_group(views, name, "view")
            write_array(group, "features", view.features)
            write_array(group, "starts", view.starts)
            write_array(group, "offsets", view.offsets)
            if view.donor is not None and view.gamma is not None:
                write_array(group, "donor", view.donor)
                write_array(group, "gamma", view.gamma)


def flat_view(clips: Sequence[ViewClips]) -> ShardView:
    """The views of a shard's videos, in their order, as flat arrays with offsets."""
    mixed = [clip for clip in clips if clip.donor is not None]
    return ShardView(
        features=np.concatenate([clip.features for clip in clips]),
        starts=np.concatenate([clip.starts for clip in clips]),
        offsets=np.cumsum([0, *(len(clip.starts) for clip in clips)], dtype=np.int64),
        donor=[str(clip.donor) for clip in mixed] if mixed else None,
        gamma=np.array([clip.gamma for clip in mixed], dtype=np.float32) if mixed else None,
    )


def open_file(path: Path, encoding: str) -> h5py.File:
    """An HDF5 file for reading, its marks checked. Raises CacheError if it is truncated, foreign or newer."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CacheError(
            f"{path} can't be read as HDF5: {error}",
            hint="the file is damaged: delete it and run the same extract again, which fills the gap",
        ) from error
    try:
        check_encoding(file.attrs.get(ENCODING_TYPE), file.attrs.get(ENCODING_VERSION), encoding, str(path))
    except CacheError:
        file.close()
        raise
    return file


def read_view_table(file: h5py.File, name: str, n_videos: int, where: str) -> ViewTable:
    """Where the clips of one view of an open shard lie, offsets and shapes checked. Raises CacheError."""
    group = read_group(read_group(file, "views", where, "group"), name, where, "view")
    features = open_array(group, "features", where)
    starts, offsets = (read_array(group, part, where) for part in ("starts", "offsets"))
    sound = (
        features.ndim == 2
        and features.dtype.kind == "f"
        and features.dtype.itemsize == 2
        and starts.shape == features.shape[:1]
        and offsets.shape == (n_videos + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(features)
        and bool(np.all(np.diff(offsets) >= 0))
    )
    if not sound:
        raise CacheError(f"{where}:/views/{name} has arrays that do not fit together", hint="the file is damaged")
    # HDF5 gives no position for what is chunked, compressed, kept in other files or never written.
    in_one_piece = features.dtype == np.float16 and not file.userblock_size
    return ViewTable(starts, offsets, features.shape[1], features.id.get_offset() if in_one_piece else None)


def read_view(file: h5py.File, name: str, n_videos: int, where: str) -> ShardView:
    """One view of an open shard, its offsets and shapes checked."""
    table = read_view_table(file, name, n_videos, where)
    group = file["views"][name]
    view = ShardView(read_array(group, "features", where), table.starts, table.offsets)
    if "donor" in group:
        view.donor = read_array(group, "donor", where, "string-array")
        view.gamma = read_array(group, "gamma", where)
        if not len(view.donor) == len(view.gamma) == n_videos:
            raise CacheError(f"{where}:/views/{name} has arrays that do not fit together", hint="the file is damaged")
    return view

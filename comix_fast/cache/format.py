"""The form of a cache on disk: names, encoding marks, and the arrays of one shard.

    cache/<name>/
      manifest.json            the recipe, its key, warnings
      dataset.json             classes, and for each domain the ids and labels of its train and test lists
      failures.json            videos that could not be read at the last extract, with the reason
      videos.json              how the last extract was told where the videos are: a hint, see whereabouts.py
      parts/*.json             how far each part of an extract on several machines has come, see parts.py
      surveys/*.h5             what the first decode found: frames, rate, sha256, background
      shards/*.h5              the features

Every group and array in an HDF5 file carries `encoding-type` and `encoding-version`, so that a file describes
itself and a newer form is recognised before it is misread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.errors import CacheError

MANIFEST = "manifest.json"
DATASET = "dataset.json"
FAILURES = "failures.json"
VIDEOS = "videos.json"
LOCK = ".lock"
ADOPTING = ".lock-adopting"
SHARDS = "shards"
SURVEYS = "surveys"
ENCODING_TYPE = "encoding-type"
ENCODING_VERSION = "encoding-version"
MADE_WITH = "made-with"
VERSIONS = {
    "comix-cache": ("1", "2"),
    "comix-dataset": ("1", "2"),
    "comix-failures": ("1",),
    "comix-videos": ("1",),
    "comix-part": ("1",),
    "comix-shard": ("1", "2"),
    "comix-survey": ("1", "2"),
    "comix-compact": ("1",),
    "video-table": ("1",),
    "view": ("1", "2"),
    "group": ("1",),
    "array": ("1",),
    "string-array": ("1",),
    "string": ("1",),
}
"""The versions of each element that are read; the last is written. 2: sealed or hashed, see seal.py, crc.py and
stored_json.py. docs/cache-format.md has the whole of it."""
SEALED_SINCE = {"comix-shard": "2", "comix-survey": "2", "comix-compact": "1"}
HASHED_SINCE = {"comix-cache": "2", "comix-dataset": "2", "comix-failures": "1", "comix-part": "1", "comix-videos": "1"}
UNLABELLED = -1


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
    crc32: NDArray[np.uint32] | None = None


@dataclass(frozen=True)
class ViewTable:
    """Where the clips of one view of a shard lie, their features unread: rows offsets[i]:offsets[i + 1] are video i's.

    starts [n], offsets [V + 1] int64; dim: numbers a clip; crc32 [n]: of each row (None in caches of form 1).
    first_byte: where in the file the features begin, if they are one piece of float16 as this machine has it; None
    if they must be read through HDF5.
    """

    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    dim: int
    first_byte: int | None
    crc32: NDArray[np.uint32] | None = None


@dataclass
class Shard:
    """All that one shard holds, in memory. made_with: versions of what computed it, for whoever compares."""

    domain: str
    key: str
    made_with: Mapping[str, str] = field(default_factory=dict)
    videos: list[VideoRow] = field(default_factory=list)
    views: dict[str, ShardView] = field(default_factory=dict)


def mark(element: h5py.HLObject, encoding: str) -> None:
    """Writes the element's encoding type and version."""
    element.attrs[ENCODING_TYPE] = encoding
    element.attrs[ENCODING_VERSION] = VERSIONS[encoding][-1]


def check_encoding(found_type: object, found_version: object, encoding: str, where: str) -> str:
    """The version. Raises CacheError unless the marks are those of `encoding`, naming the element."""
    if not isinstance(found_type, str) or found_type != encoding:
        raise CacheError(f"{where} is not a {encoding} but {found_type!r:.80}", hint="the file is foreign or damaged")
    if not isinstance(found_version, str) or found_version not in VERSIONS[encoding]:
        raise CacheError(
            f"{where} has the form {encoding} {found_version!s:.80}, this comix-fast reads "
            f"{' and '.join(VERSIONS[encoding])}",
            hint="update comix-fast to read it",
        )
    return found_version


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

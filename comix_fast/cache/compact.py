"""`comix cache compact`: a cache in one HDF5 file, which h5py alone reads. compact_file.py has its form.

    written = compact(Path("cache/ut"), Path("ut.h5"))
    FeatureCache("ut.h5")                               # what read the folder reads the file, bit for bit the same

The file does not depend on how the videos lay in shards: they stand by domain, then as listed, then by id. Memory is
bounded by what is known of each video and by a piece of features, whatever the number of clips.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from comix_fast.cache import format as form
from comix_fast.cache.compact_file import COMPACT, DOCUMENTS
from comix_fast.cache.flat import Flattened, FlatView, listed_order
from comix_fast.cache.image import SparseImage, reserve, write_at
from comix_fast.cache.layout import FEATURE_BYTES
from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.room import room_for
from comix_fast.cache.seal import READ_BYTES, Seal
from comix_fast.cache.stored_json import SHA256, json_text
from comix_fast.cache.writing import write_array, write_group, write_videos
from comix_fast.console import Reporter, Silent
from comix_fast.errors import CacheError
from comix_fast.files import PARTIAL, held_lock, whole_file

HOW_TO_READ = """\
import h5py, json; f = h5py.File(FILE)
i = f["videos/id"].asstr()[:].tolist().index(ID)  # beside it: domain, label, n_frames, fps, sha256, n_bytes
v = f["views/plain"]; first, last = v["offsets"][i : i + 2]  # an empty range: this video has no such view
features, starts = v["features"][first:last], v["starts"][first:last]  # [clips, D] float16; first frames
lists, recipe = json.loads(f["dataset"][()]), json.loads(f["manifest"][()])["recipe"]
"""


@dataclass(frozen=True)
class Compacted:
    """What was written. n_bytes: of the file; clips: rows, by view."""

    path: Path
    n_bytes: int
    n_videos: int
    clips: Mapping[str, int]


@dataclass(frozen=True)
class _Places:
    """First bytes of the row arrays of one view, which are filled by plain writes."""

    features: int
    crc32: int
    starts: int


def compact(root: Path, out: Path, *, force: bool = False, reporter: Reporter | None = None) -> Compacted:
    """Writes a cache into one file, every row checked on the way; it appears whole or not at all.

    force: replace what is there. Raises CacheError if the cache is damaged, the file exists, another process writes
    it, or there is no room.
    """
    _require_place(root, out, force)
    cache = FeatureCache(root)
    flattened = Flattened(cache, listed_order(cache))
    views = flattened.views()
    image = SparseImage()
    places = _draw(image, flattened, views)
    clips = {view.name: view.n_rows for view in views}
    features = sorted((place.features, _n_bytes(view)) for view, place in zip(views, places, strict=True))
    with _alone(out), room_for(out, out.parent, image.size, "nothing is left of it"):
        with whole_file(out, _tag(out)) as partial, partial.open("r+b", buffering=0) as file:
            image.pour(file)
            with (reporter or Silent()).progress("compacting", sum(clips.values()), "clips") as advance:
                for view, place in zip(views, places, strict=True):
                    for piece in flattened.pieces(view):
                        write_at(file, place.features + piece.first * FEATURE_BYTES * view.dim, _bytes(piece.features))
                        write_at(file, place.crc32 + piece.first * 4, _bytes(piece.crc32))
                        write_at(file, place.starts + piece.first * 8, _bytes(piece.starts))
                        advance(len(piece.starts))
            write_at(file, image.size, _seal(file, image.size, features).encoded())
        n_bytes = out.stat().st_size
    return Compacted(out, n_bytes, len(flattened.videos), clips)


def _draw(image: SparseImage, flattened: Flattened, views: Sequence[FlatView]) -> list[_Places]:
    """The file without its rows."""
    cache, places = flattened.cache, []
    with h5py.File(image, "w") as file:
        form.mark(file, COMPACT)
        file.attrs["how-to-read"], file.attrs["key"] = HOW_TO_READ, cache.key
        file.attrs[form.MADE_WITH] = json.dumps(cache.made_with())
        documents = {"manifest": cache.manifest, "dataset": cache.dataset, "failures": {"failures": cache.failures()}}
        for name, value in documents.items():
            _write_text(file, name, _document(DOCUMENTS[name], value))
        table = write_videos(file, [cache.row(video) for video in flattened.videos])
        write_array(table, "domain", [cache.domain(video) for video in flattened.videos])
        group = write_group(file, "views")
        for view in views:
            places.append(_draw_view(write_group(group, view.name, "view"), view))
    return places


def _draw_view(group: h5py.Group, view: FlatView) -> _Places:
    write_array(group, "offsets", view.offsets)
    if view.donor is not None and view.gamma is not None:
        write_array(group, "donor", view.donor)
        write_array(group, "gamma", view.gamma)
    return _Places(
        reserve(group, "features", (view.n_rows, view.dim), "<f2"),
        reserve(group, "crc32", (view.n_rows,), "<u4"),
        reserve(group, "starts", (view.n_rows,), "<i8"),
    )


def _document(encoding: str, value: Mapping[str, Any]) -> str:
    """The text of a JSON file, in the form that is written now, whichever it was read in; the seal is its hash."""
    marks = {form.ENCODING_TYPE: encoding, form.ENCODING_VERSION: form.VERSIONS[encoding][-1]}
    return json_text(marks | {name: part for name, part in value.items() if name not in (*marks, SHA256)})


def _write_text(file: h5py.File, name: str, text: str) -> None:
    element = file.create_dataset(name, data=text, dtype=h5py.string_dtype("utf-8"))
    form.mark(element, "string")


def _bytes(values: Any) -> memoryview:
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def _n_bytes(view: FlatView) -> int:
    return view.n_rows * view.dim * FEATURE_BYTES


def _seal(file: BinaryIO, n_bytes: int, features: Sequence[tuple[int, int]]) -> Seal:
    """The seal of an open file, of what is read back from it: both hashes in one reading."""
    whole, index = hashlib.sha256(), hashlib.sha256()
    edges = [0, *itertools.chain.from_iterable((first, first + count) for first, count in features), n_bytes]
    file.seek(0)
    for number, (first, last) in enumerate(itertools.pairwise(edges)):
        left = last - first
        while left:
            read = file.read(min(READ_BYTES, left))
            if not read:
                raise CacheError("the file became shorter while it was written", hint="run the command again")
            whole.update(read)
            if number % 2 == 0:
                index.update(read)
            left -= len(read)
    return Seal(n_bytes, whole.hexdigest(), index.hexdigest(), tuple(features))


def _require_place(root: Path, out: Path, force: bool) -> None:
    if out.is_dir():
        raise CacheError(f"{out} is a folder", hint="name the file to write: --out FILE.h5")
    if root.is_dir() and root.resolve() in out.resolve().parents:
        raise CacheError(
            f"{out} is inside the cache {root}", hint="write it elsewhere: a cache holds its own files alone"
        )
    if out.exists() and not force:
        raise CacheError(f"{out} exists", hint="pass --force to replace it, or choose another --out")


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keeps others from writing the same file, and sweeps what a killed one left."""
    lock = out.with_name(f".{out.name}.lock")
    with held_lock(lock, CacheError(f"another process is writing {out}", hint="wait for it, or choose another --out")):
        try:
            for leftover in out.parent.iterdir():
                if leftover.name.startswith(f".{_tag(out)}") and leftover.name.endswith(PARTIAL):
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.unlink(missing_ok=True)


def _tag(out: Path) -> str:
    return f"compact-{out.name}."

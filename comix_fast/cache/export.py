"""`comix cache export`: features as .npy or .safetensors files, for programs without HDF5.

    export(Path("cache/ut"), Path("ut-npy"), form="npy")

    ut-npy/README.txt, cache.json                                     what is what; recipe, classes
    ut-npy/source-train/plain/{features,starts,offsets,labels}.npy    one row a clip; memory-mapped by numpy.load
    ut-npy/source-train/plain/index.csv                               one line a video

Folders are named after lists and views, never after videos.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from comix_fast.cache.export_text import cache_json, readme
from comix_fast.cache.flat import Flattened, FlatView
from comix_fast.cache.format import UNLABELLED
from comix_fast.cache.image import write_at
from comix_fast.cache.layout import FEATURE_BYTES
from comix_fast.cache.lists import SPLITS
from comix_fast.cache.reader import CachedVideo, FeatureCache
from comix_fast.cache.room import room_for
from comix_fast.config import PLAIN
from comix_fast.console import Reporter, Silent
from comix_fast.errors import CacheError, first_few
from comix_fast.files import held_lock

Form = Literal["npy", "safetensors"]
PARTIAL, LOCK = ".export.partial", ".export.lock"
TENSORS = "arrays.safetensors"
COLUMNS = ("id", "label", "class_name", "first_row", "n_rows", "n_frames", "fps", "donor", "gamma")
_VIEW = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")


@dataclass(frozen=True)
class Arrays:
    """One view of one list, as exported: features [n_rows, dim] of n_videos; folder: below the export's."""

    domain: str
    split: str
    view: str
    n_videos: int
    n_rows: int
    dim: int

    @property
    def folder(self) -> Path:
        """Below the folder of the export."""
        return Path(f"{self.domain}-{self.split}") / self.view

    @property
    def n_bytes(self) -> int:
        """Of the arrays."""
        return self.n_rows * (self.dim * FEATURE_BYTES + 8) + (2 * self.n_videos + 1) * 8


@dataclass(frozen=True)
class Exported:
    """What was written. n_bytes: of all files."""

    path: Path
    form: Form
    arrays: tuple[Arrays, ...]
    n_bytes: int


@dataclass(frozen=True)
class _Share:
    """A list of the cache and its videos."""

    domain: str
    split: str
    videos: Sequence[CachedVideo]
    flattened: Flattened
    views: Sequence[FlatView]

    def arrays(self, view: FlatView) -> Arrays:
        return Arrays(self.domain, self.split, view.name, len(self.videos), view.n_rows, view.dim)


def export(
    root: Path,
    out: Path,
    *,
    form: Form = "npy",
    views: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> Exported:
    """Writes features, a folder for each list and view; they appear when all is there, README.txt last.

    views, splits: names of those to write; None writes all. Memory is bounded by a piece of features; safetensors
    before 0.6 holds the features of one list and view at a time. Raises CacheError if `out` is not empty, the cache is
    damaged, there is no such view or split, or there is no room.
    """
    cache = FeatureCache(root)
    shares = _shares(cache, views, splits)
    arrays = tuple(share.arrays(view) for share in shares for view in share.views)
    if not arrays:
        raise CacheError(f"{root} has no features of these lists and views", hint="see comix cache info")
    n_bytes = sum(one.n_bytes for one in arrays)
    if form == "safetensors":
        n_bytes += max(one.n_bytes for one in arrays)
    with _emerging(root, out) as folder, room_for(out, folder, n_bytes, "nothing is left of it"):
        with (reporter or Silent()).progress("exporting", sum(one.n_rows for one in arrays), "clips") as advance:
            for share in shares:
                for view in share.views:
                    _write(folder, cache, share, view, form, advance)
        _write_text(folder / "cache.json", cache_json(cache, arrays))
        _write_text(folder / "README.txt", readme(form, arrays))
        written = sum(_sync(path) for path in sorted(folder.rglob("*")) if path.is_file())
    return Exported(out, form, arrays, written)


def _shares(cache: FeatureCache, views: Sequence[str] | None, splits: Sequence[str] | None) -> list[_Share]:
    if unknown := sorted(set(splits or ()) - set(SPLITS)):
        raise CacheError(f"there is no split {first_few(unknown)}", hint=f"there are {' and '.join(SPLITS)}")
    shares = []
    for domain, split in cache.lists.listed:
        videos = cache.videos(domain, split)
        if videos and (splits is None or split in splits):
            flattened = Flattened(cache, [video.id for video in videos])
            shares.append(_Share(domain, split, videos, flattened, flattened.views()))
    known = sorted(
        {view for path in cache.files for view in cache.views_of(path)}, key=lambda view: (view != PLAIN, view)
    )
    if foreign := [name for name in known if not _VIEW.fullmatch(name)]:
        raise CacheError(f"{cache.path} has a view {foreign[0]!r:.80}, which is no name", hint="the cache is foreign")
    if absent := [name for name in views or () if name not in known]:
        raise CacheError(f"no video has a view {first_few(absent)}", hint=f"there are {first_few(known, 12)}")
    wanted = known if views is None else views
    return [_Share(s.domain, s.split, s.videos, s.flattened, [v for v in s.views if v.name in wanted]) for s in shares]


def _write(
    root: Path, cache: FeatureCache, share: _Share, view: FlatView, form: Form, advance: Callable[[int], None]
) -> None:
    """The files of one view of one list."""
    arrays = share.arrays(view)
    folder = root / arrays.folder
    folder.mkdir(parents=True)
    _write_rows(folder, share.flattened, view, advance)
    labels = [UNLABELLED if video.label is None else video.label for video in share.videos]
    small = {"offsets": view.offsets, "labels": np.array(labels, np.int64)}
    if form == "npy":
        for name, values in small.items():
            np.save(folder / f"{name}.npy", values.astype("<i8"))
    else:
        meta = {"key": cache.key, "list": f"{share.domain} {share.split}", "view": view.name}
        _to_safetensors(folder, small, meta)
    _write_index(folder / "index.csv", cache, share, view)


def _write_rows(folder: Path, flattened: Flattened, view: FlatView, advance: Callable[[int], None]) -> None:
    with contextlib.ExitStack() as files:
        features, first = _begin(files, folder / "features.npy", "<f2", (view.n_rows, view.dim))
        starts, first_start = _begin(files, folder / "starts.npy", "<i8", (view.n_rows,))
        for piece in flattened.pieces(view):
            rows = np.ascontiguousarray(piece.features, "<f2")
            write_at(features, first + piece.first * view.dim * FEATURE_BYTES, rows.reshape(-1).view(np.uint8).data)
            write_at(
                starts, first_start + piece.first * 8, np.ascontiguousarray(piece.starts, "<i8").view(np.uint8).data
            )
            advance(len(piece.starts))


def _begin(files: contextlib.ExitStack, path: Path, dtype: str, shape: tuple[int, ...]) -> tuple[BinaryIO, int]:
    """A .npy file open to be filled, and where its numbers begin. Plain writes: a map of a full disk kills."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    file = files.enter_context(path.open("xb", buffering=0))
    write_at(file, 0, header.getvalue())
    return file, len(header.getvalue())


def _to_safetensors(folder: Path, small: dict[str, NDArray[np.int64]], meta: dict[str, str]) -> None:
    """One file of what is in features.npy and starts.npy, and the small arrays; mapped, not held."""
    rows = [folder / f"{name}.npy" for name in ("features", "starts")]
    tensors = {path.stem: np.load(path, mmap_mode="r") for path in rows}
    try:
        save_file({**tensors, **small}, folder / TENSORS, metadata=meta)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    del tensors
    for path in rows:
        path.unlink()


def _write_index(path: Path, cache: FeatureCache, share: _Share, view: FlatView) -> None:
    with path.open("x", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for number, video in enumerate(share.videos):
            known = cache.row(video.id)
            first, last = int(view.offsets[number]), int(view.offsets[number + 1])
            label = UNLABELLED if video.label is None else video.label
            name = "" if video.label is None else cache.classes[video.label]
            donor = "" if view.donor is None else view.donor[number]
            gamma = math.nan if view.gamma is None else float(view.gamma[number])
            numbers = ["" if math.isnan(value) else repr(value) for value in (known.fps, gamma)]
            lines.writerow([video.id, label, name, first, last - first, known.n_frames, numbers[0], donor, numbers[1]])


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _emerging(root: Path, out: Path) -> Iterator[Path]:
    """A folder inside `out` whose content is moved up when the block ends well; else `out` is as it was."""
    if out.exists() and not out.is_dir():
        raise CacheError(f"{out} is a file, not a folder", hint="choose another --out")
    if root.is_dir() and root.resolve() in (out.resolve(), *out.resolve().parents):
        raise CacheError(
            f"{out} is inside the cache {root}", hint="write it elsewhere: a cache holds its own files alone"
        )
    ours = not out.exists()
    if not ours and (others := sorted(path.name for path in out.iterdir() if path.name not in (PARTIAL, LOCK))):
        raise CacheError(f"{out} is not empty ({first_few(others, 3)})", hint="choose another --out, or empty it")
    partial, lock = out / PARTIAL, out / LOCK
    with contextlib.ExitStack() as undo:
        if ours:
            undo.callback(lambda: out.rmdir() if not any(out.iterdir()) else None)
        undo.enter_context(held_lock(lock, CacheError(f"another process is exporting into {out}")))
        undo.callback(lock.unlink, missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        undo.callback(shutil.rmtree, partial, ignore_errors=True)
        yield partial
        for path in sorted(partial.iterdir(), key=lambda path: path.name == "README.txt"):
            path.rename(out / path.name)


def _sync(path: Path) -> int:
    """Flushed to the disk; gives its size."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_size

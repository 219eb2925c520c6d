"""Writing a cache: one writer at a time, every file whole or absent, one recipe for ever."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.reader import read_manifest
from comix_fast.config import ExtractRecipe, differences, digest
from comix_fast.errors import CacheError
from comix_fast.files import held_lock, remove_partial, whole_file, write_json


@dataclass
class ShardWriter:
    """Gathers the videos of one shard in memory; a few dozen videos are some tens of MB."""

    domain: str
    rows: list[form.VideoRow] = field(default_factory=list)
    views: dict[str, list[form.ViewClips]] = field(default_factory=dict)

    def add(self, row: form.VideoRow, views: Mapping[str, form.ViewClips]) -> None:
        """One video and all its views. Raises CacheError on non-finite features, or views unlike the others'."""
        if self.rows and views.keys() != self.views.keys():
            raise CacheError(f"{row.id} has views {sorted(views)}, its shard has {sorted(self.views)}")
        for name, clips in views.items():
            if not np.isfinite(clips.features).all():
                raise CacheError(
                    f"the backbone gave non-finite features for {row.id}, view {name}",
                    hint="try --precision fp32, and check the weights",
                )
            self.views.setdefault(name, []).append(clips)
        self.rows.append(row)


class CacheWriter:
    """The one writer of a cache folder, held by a lock for as long as it is open."""

    def __init__(self, root: Path, recipe: Mapping[str, Any]) -> None:
        self.root = root
        self.recipe = recipe
        self.key = digest(recipe)

    @classmethod
    @contextlib.contextmanager
    def open(cls, root: Path, recipe: ExtractRecipe, warnings: Sequence[str] = ()) -> Iterator[CacheWriter]:
        """Opens or creates the cache at `root`.

        Raises CacheError if another process is writing there, if the folder holds something else, or if its
        cache was made by another recipe (the message lists the fields that differ).
        """
        _refuse_foreign(root)
        refusal = CacheError(f"another process is writing to {root}", hint="wait for it, or choose another --out")
        with held_lock(root / form.LOCK, refusal):
            writer = cls(root, recipe.to_json())
            writer._adopt(warnings)
            yield writer

    def _adopt(self, warnings: Sequence[str]) -> None:
        for folder in (self.root, self.root / form.SHARDS, self.root / form.SURVEYS):
            remove_partial(folder)
        if (self.root / form.MANIFEST).exists():
            manifest = read_manifest(self.root)
            if manifest["key"] != self.key:
                raise CacheError(
                    f"{self.root} was made by another recipe; nothing was changed",
                    [f"asked {line}" for line in differences(self.recipe, manifest["recipe"])],
                    hint="use the same options, or another --out",
                )
            return
        write_json(
            self.root / form.MANIFEST,
            {
                form.ENCODING_TYPE: "comix-cache",
                form.ENCODING_VERSION: form.VERSIONS["comix-cache"],
                "key": self.key,
                "recipe": self.recipe,
                "warnings": list(warnings),
            },
        )

    def write_dataset(self, dataset: Mapping[str, Any]) -> None:
        """Which ids, with which labels, are in which list: rewritten by every extract, as no feature hangs on it."""
        marks = {form.ENCODING_TYPE: "comix-dataset", form.ENCODING_VERSION: form.VERSIONS["comix-dataset"]}
        write_json(self.root / form.DATASET, marks | dict(dataset))

    def write_failures(self, failures: Sequence[Mapping[str, str]]) -> None:
        """The videos that could not be read, replacing the list of the run before."""
        write_json(self.root / form.FAILURES, list(failures))

    @contextlib.contextmanager
    def shard(self, domain: str) -> Iterator[ShardWriter]:
        """A shard that appears whole when the block ends, or not at all; without videos, none appears."""
        writer = ShardWriter(domain)
        yield writer
        if not writer.rows:
            return
        views = {name: form.flat_view(clips) for name, clips in writer.views.items()}
        shard = form.Shard(domain, self.key, writer.rows, views)
        with whole_file(self._path(form.SHARDS, domain, writer.rows)) as partial:
            form.write_shard(partial, shard)

    def add_survey(
        self, domain: str, rows: Sequence[form.VideoRow], backgrounds: Sequence[NDArray[np.uint8]] | None
    ) -> None:
        """What the first decode found of some videos; backgrounds uint8 [size, size, 3] where mixing needs them."""
        if not rows:
            return
        with (
            whole_file(self._path(form.SURVEYS, domain, rows)) as partial,
            h5py.File(partial, "w") as file,
        ):
            form.mark(file, "comix-survey")
            file.attrs["domain"], file.attrs["key"] = domain, self.key
            form.write_videos(file, rows)
            if backgrounds is not None:
                stacked = np.stack(backgrounds)
                chunks = (1, *stacked.shape[1:])
                form.write_array(
                    file,
                    "backgrounds",
                    stacked,
                    chunks=chunks,
                    compression="gzip",
                    compression_opts=4,
                    shuffle=True,
                )

    def _path(self, folder: str, domain: str, rows: Sequence[form.VideoRow]) -> Path:
        members = hashlib.sha256("\0".join(row.id for row in rows).encode()).hexdigest()
        return self.root / folder / f"{domain}-{members[:16]}.h5"


def _refuse_foreign(root: Path) -> None:
    """Raises CacheError if the folder holds other things than a cache, before anything is touched."""
    if not root.exists() or (root / form.MANIFEST).exists():
        return
    if not root.is_dir():
        raise CacheError(f"{root} is a file, not a folder", hint="choose another --out")
    ours = {form.LOCK, form.SHARDS, form.SURVEYS}
    foreign = sorted(
        p.name for p in root.iterdir() if p.name not in ours and not p.name.startswith(f".{form.MANIFEST}.")
    )
    if foreign:
        raise CacheError(
            f"{root} is not empty and holds no cache ({', '.join(foreign[:3])})", hint="choose another --out"
        )

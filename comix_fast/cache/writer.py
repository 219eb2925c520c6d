"""Writing a cache: one writer, or parts that keep apart; every file whole or absent, one recipe for ever."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache import parts as parted
from comix_fast.cache.index import read_index
from comix_fast.cache.parts import Division, Part, PartRecord
from comix_fast.cache.reader import read_manifest
from comix_fast.cache.stored_json import write_marked
from comix_fast.cache.writing import write_shard, write_survey
from comix_fast.config import ExtractRecipe, differences, digest
from comix_fast.errors import CacheError
from comix_fast.files import held_lock, remove_partial


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
    """Writes into a cache folder; a lock keeps others out for as long as it is open.

    part: None for the one writer of the whole cache. made_with: versions of what computes, written into each shard.
    tag: stands first in the names of files under way; None: as suits the part.
    """

    def __init__(
        self,
        root: Path,
        recipe: Mapping[str, Any],
        part: Part | None = None,
        made_with: Mapping[str, str] | None = None,
        locks: Sequence[int] = (),
        tag: str | None = None,
    ) -> None:
        self.root = root
        self.recipe = recipe
        self.key = digest(recipe)
        self.part = part
        self.made_with = dict(made_with or {})
        self.locks = tuple(locks)
        ours = "" if part is None else f"part-{part.name}."
        self._tag = ours if tag is None else tag

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        root: Path,
        recipe: ExtractRecipe | Mapping[str, Any],
        warnings: Sequence[str] = (),
        *,
        part: Part | None = None,
        made_with: Mapping[str, str] | None = None,
    ) -> Iterator[CacheWriter]:
        """Opens or creates the cache at `root`.

        Raises CacheError if another process is writing there (parts keep out only the same part, and whoever writes
        the whole), if the folder holds something else, or if its cache was made by another recipe (the message lists
        the fields that differ); ComixError if the file system has no locks.
        """
        refuse_foreign(root)
        with contextlib.ExitStack() as held:
            refusal = CacheError(f"another process is writing to {root}", hint="wait for it, or choose another --out")
            locks = [held.enter_context(held_lock(root / form.LOCK, refusal, shared=part is not None))]
            # Parts that begin together agree on the recipe before any of them writes a feature.
            with held_lock(root / form.ADOPTING, refusal, wait=True):
                if part is not None:
                    busy = CacheError(f"another process is extracting part {part.number} of {part.of} into {root}")
                    locks.append(held.enter_context(held_lock(parted.lock_path(root, part), busy)))
                written = recipe.to_json() if isinstance(recipe, ExtractRecipe) else recipe
                writer = cls(root, written, part, made_with, locks)
                writer._adopt(warnings)
                if part is not None:
                    # Whoever holds a part's lock and has a record works by that record, not by one of a former run.
                    parted.record_path(root, part).unlink(missing_ok=True)
            yield writer

    def worker(self, number: int) -> CacheWriter:
        """For a process that works for this one, which holds the locks: a writer of shards and surveys alone."""
        return CacheWriter(self.root, self.recipe, self.part, self.made_with, (), f"{self._tag}worker-{number}.")

    def sweep(self, number: int) -> None:
        """Removes what the worker of this number had under way when it died."""
        folders = (form.SHARDS, form.SURVEYS, *((f"{parted.PARTS}/{self.part.name}",) if self.part else ()))
        for folder in folders:
            remove_partial(self.root / folder, self.worker(number)._tag)

    def _adopt(self, warnings: Sequence[str]) -> None:
        for folder in (self.root, self.root / form.SHARDS, self.root / form.SURVEYS, self.root / parted.PARTS):
            remove_partial(folder, self._tag)
        if (self.root / form.MANIFEST).exists():
            manifest = read_manifest(self.root)
            if manifest["key"] != self.key:
                raise CacheError(
                    f"{self.root} was made by another recipe; nothing was changed",
                    [f"asked {line}" for line in differences(self.recipe, manifest["recipe"])],
                    hint="use the same options, or another --out",
                )
            return
        self._require_shards_of_ours()
        value = {"key": self.key, "recipe": self.recipe, "warnings": list(warnings)}
        write_marked(self.root / form.MANIFEST, "comix-cache", value)

    def _require_shards_of_ours(self) -> None:
        """A manifest that was lost is written again where the shards left are of this recipe, and not otherwise."""
        for path in sorted((self.root / form.SHARDS).glob("*.h5")):
            if read_index(path).key != self.key:
                raise CacheError(
                    f"{self.root} has lost its {form.MANIFEST}, and {path.name} was made by another recipe than asked",
                    hint="bring back a copy of the manifest; give the options of then; or choose another --out",
                )

    def write_dataset(self, dataset: Mapping[str, Any]) -> None:
        """Which ids, with which labels, are in which list: rewritten by every extract, as no feature hangs on it."""
        write_marked(self.root / form.DATASET, "comix-dataset", dataset)

    def begin_part(self, division: Division) -> None:
        """Notes that this part is under way. Raises CacheError if another part is that divides the videos otherwise."""
        assert self.part is not None
        busy = CacheError("a part is under way")
        with held_lock(self.root / form.ADOPTING, busy, wait=True):
            for record in parted.read_records(self.root):
                if record.division == division or record.part == self.part:
                    continue
                try:
                    with held_lock(parted.lock_path(self.root, record.part), busy):
                        parted.record_path(self.root, record.part).unlink()
                except CacheError as error:
                    raise _unlike(self.root, record, division) from error
            self._write_record(PartRecord(self.part, division, finished=False))

    def finish_part(self, division: Division, failures: Sequence[Mapping[str, str]]) -> None:
        """Notes that this part has come to its end, with the videos that it could not read."""
        assert self.part is not None
        self._write_record(PartRecord(self.part, division, True, tuple(dict(one) for one in failures)))

    def _write_record(self, record: PartRecord) -> None:
        write_marked(parted.record_path(self.root, record.part), "comix-part", record.to_json())

    def write_failures(self, failures: Sequence[Mapping[str, str]]) -> None:
        """The videos that could not be read, replacing the list of the run before and those of parts."""
        write_marked(self.root / form.FAILURES, "comix-failures", {"failures": [dict(one) for one in failures]})
        for record in parted.read_records(self.root):
            parted.record_path(self.root, record.part).unlink(missing_ok=True)
            parted.lock_path(self.root, record.part).unlink(missing_ok=True)

    @contextlib.contextmanager
    def shard(self, domain: str) -> Iterator[ShardWriter]:
        """A shard that appears whole when the block ends, or not at all; without videos, none appears."""
        writer = ShardWriter(domain)
        yield writer
        if not writer.rows:
            return
        views = {name: form.flat_view(clips) for name, clips in writer.views.items()}
        shard = form.Shard(domain, self.key, self.made_with, writer.rows, views)
        write_shard(self._path(form.SHARDS, domain, writer.rows), shard, self._tag)

    def add_survey(
        self,
        domain: str,
        rows: Sequence[form.VideoRow],
        backgrounds: Sequence[NDArray[np.uint8]] | None,
        folder: str = form.SURVEYS,
    ) -> None:
        """What the first decode found of some videos; backgrounds uint8 [size, size, 3] where mixing needs them."""
        if rows:
            write_survey(self._path(folder, domain, rows), domain, self.key, rows, backgrounds, self._tag)

    def _path(self, folder: str, domain: str, rows: Sequence[form.VideoRow]) -> Path:
        members = hashlib.sha256("\0".join(row.id for row in rows).encode()).hexdigest()
        return self.root / folder / f"{domain}-{members[:16]}.h5"


def _unlike(root: Path, record: PartRecord, division: Division) -> CacheError:
    part = record.part
    return CacheError(
        f"part {part.number} of {part.of} is being extracted into {root} and divides the videos otherwise",
        division.differences(record.division),
        hint="give all parts the same dataset, --shard-size and number of parts, or another --out",
    )


def refuse_foreign(root: Path) -> None:
    """Raises CacheError if the folder holds other things than a cache, before anything is touched."""
    if not root.exists() or (root / form.MANIFEST).exists():
        return
    if not root.is_dir():
        raise CacheError(
            f"{root} is a file, not a folder", hint="choose a folder as --out; a compacted cache is not added to"
        )
    ours = {form.SHARDS, form.SURVEYS, parted.PARTS}
    if any(any((root / folder).glob("*.h5")) for folder in (form.SHARDS, form.SURVEYS)):
        ours |= {form.DATASET, form.FAILURES, form.VIDEOS}
    written = (form.MANIFEST, form.DATASET, form.FAILURES, form.VIDEOS)
    begun = (*(f".{name}." for name in written), ".part-", ".attempts-", form.LOCK)
    foreign = sorted(p.name for p in root.iterdir() if p.name not in ours and not p.name.startswith(begun))
    # Another process may have begun a cache meanwhile: then the lock and the recipe decide.
    if foreign and not (root / form.MANIFEST).exists():
        raise CacheError(
            f"{root} is not empty and holds no cache ({', '.join(foreign[:3])})", hint="choose another --out"
        )

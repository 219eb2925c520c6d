"""What `comix cache merge` joins: each part's folder, and whether they are parts of one and the same extract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.cache import format as form
from comix_fast.cache.lists import Lists
from comix_fast.cache.parts import PARTS, Division, PartRecord, read_records
from comix_fast.cache.plain_files import stored_files
from comix_fast.cache.reader import read_manifest
from comix_fast.cache.reading import open_file, read_videos
from comix_fast.cache.store import ShardFolder
from comix_fast.cache.stored_json import SHA256
from comix_fast.config import differences
from comix_fast.errors import CacheError, first_few

_MARKS = (form.ENCODING_TYPE, form.ENCODING_VERSION, SHA256)


@dataclass(frozen=True)
class Survey:
    """A file of what the first decode found. rows: of its videos, in its order."""

    path: Path
    domain: str
    rows: tuple[form.VideoRow, ...]
    backgrounds: bool


class PartFolder:
    """A cache to be joined with others. Raises CacheError if it is damaged, or no folder."""

    def __init__(self, root: Path) -> None:
        if root.is_file():
            raise CacheError(f"{root} is a file; parts are folders", hint="merge the folders, then compact the result")
        self.root = root
        self._folder = ShardFolder(root)
        self.key: str = self._folder.manifest["key"]
        self.recipe: Mapping[str, Any] = self._folder.manifest["recipe"]
        self.warnings: tuple[str, ...] = tuple(self._folder.manifest.get("warnings", ()))
        self.dataset = {name: value for name, value in self._folder.dataset.items() if name not in _MARKS}
        self.lists = Lists.of(self.dataset, str(root / form.DATASET))
        self.records: Sequence[PartRecord] = read_records(root)
        self.failures = self._folder.failures()

    @property
    def shards(self) -> dict[Path, tuple[str, ...]]:
        """The ids of the videos of each shard."""
        return {path: self._folder.ids(path) for path in self._folder.files}

    def surveys(self) -> Iterator[Survey]:
        """The surveys, by name. Raises CacheError if one is damaged or of another recipe."""
        for path in stored_files(self.root, form.SURVEYS, ".h5"):
            with open_file(path, "comix-survey") as file:
                if file.attrs.get("key") != self.key:
                    raise CacheError(f"{path} belongs to another recipe", hint="move it out of this cache")
                rows = tuple(read_videos(file, str(path)))
                yield Survey(path, str(file.attrs.get("domain")), rows, "backgrounds" in file)


def is_begun(root: Path) -> bool:
    """Whether there is a cache at `root` that holds something: one killed at its very beginning does not."""
    folders = (root / form.SHARDS, root / form.SURVEYS, root / PARTS)
    something = any(any(folder.glob("*.*")) for folder in folders)
    return (root / form.MANIFEST).exists() and ((root / form.DATASET).exists() or something)


def require_same_recipe(root: Path, recipe: Mapping[str, Any], other: Path) -> None:
    """Raises CacheError unless the cache at `other` was made by the recipe of the one at `root`."""
    theirs = read_manifest(other)["recipe"]
    if theirs != recipe:
        raise CacheError(
            f"{other} was made by another recipe than {root}; nothing was changed",
            [f"in {root}, and there in {other}:", *differences(recipe, theirs)],
            hint="merge parts of one extract: leave this one out, or extract it again",
        )


def require_same_lists(one: PartFolder, other: PartFolder) -> None:
    """Raises CacheError, saying how they differ, unless two folders are of the same lists of videos and classes."""
    if (one.lists.classes, one.lists.listed) != (other.lists.classes, other.lists.listed):
        raise CacheError(
            f"{other.root} is of other lists of videos than {one.root}; nothing was changed",
            list(_unlike_lists(one, other)),
            hint="merge parts of one dataset: give every extract the same lists",
        )


def _unlike_lists(one: PartFolder, other: PartFolder) -> Iterator[str]:
    ours, theirs = one.lists, other.lists
    if ours.classes != theirs.classes:
        yield f"classes: {_between(ours.classes, theirs.classes, one.root, other.root)}"
    for which in dict.fromkeys((*ours.listed, *theirs.listed)):
        name, here, there = " ".join(which), ours.listed.get(which), theirs.listed.get(which)
        if here == there:
            continue
        if here is None or there is None:
            yield f"{name}: only {one.root if there is None else other.root} has such a list"
            continue
        ids, others = [video for video, _ in here], [video for video, _ in there]
        if set(ids) != set(others):
            yield f"{name}: {_between(ids, others, one.root, other.root)}"
        elif labels := [video for video, label in here if dict(there)[video] != label]:
            yield f"{name}: {len(labels):,} videos have other labels: {first_few(labels)}"
        else:
            yield f"{name}: the videos are in another order"


def _between(ours: Sequence[str], theirs: Sequence[str], here: Path, there: Path) -> str:
    alone = [
        f"only in {root}: {first_few(only)}"
        for root, only in (
            (here, sorted(set(ours) - set(theirs))),
            (there, sorted(set(theirs) - set(ours))),
        )
        if only
    ]
    counts = f"{len(ours):,} in {here}, {len(theirs):,} in {there}"
    return "; ".join((counts, *alone)) if alone else f"{counts}, in another order"


def require_same_division(records: Mapping[Path, Sequence[PartRecord]]) -> Division | None:
    """How all parts divide the videos; None where no folder says. Raises CacheError if they differ."""
    first: tuple[Path, Division] | None = None
    for root, some in records.items():
        for record in some:
            if first is None:
                first = root, record.division
            elif record.division != first[1]:
                raise CacheError(
                    f"{root} divides the videos otherwise than {first[0]}; nothing was changed",
                    first[1].differences(record.division, str(first[0]), str(root)),
                    hint="give all parts the same lists, --shard-size and number of parts",
                )
    return None if first is None else first[1]

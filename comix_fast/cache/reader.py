"""Reading a cache: which videos it holds, and their features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.compact_file import CompactFile, read_compact_manifest
from comix_fast.cache.lists import DOMAINS, SPLITS, Lists
from comix_fast.cache.store import Mixing, ShardFolder, Store, read_folder_manifest, stated_mixes
from comix_fast.errors import CacheError, first_few

__all__ = ["DOMAINS", "SPLITS", "CacheSummary", "CachedVideo", "FeatureCache", "read_manifest"]


@dataclass(frozen=True)
class CachedVideo:
    """A video of a list: its id, domain ("source" or "target") and class index (None: unlabelled)."""

    id: str
    domain: str
    label: int | None


@dataclass(frozen=True)
class CacheSummary:
    """What `comix cache info` shows. measured: labelled target videos to measure accuracy on."""

    path: Path
    key: str
    recipe: Mapping[str, Any]
    warnings: tuple[str, ...]
    classes: tuple[str, ...]
    domain_names: Mapping[str, str]
    listed: Mapping[tuple[str, str], int]
    extracted: Mapping[tuple[str, str], int]
    clips: Mapping[str, int]
    n_shards: int
    n_bytes: int
    failures: tuple[Mapping[str, str], ...]
    measured: int
    unfinished_parts: tuple[str, ...] = ()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a cache, a folder or a compacted file; its key checked against its recipe."""
    return read_compact_manifest(path) if path.is_file() else read_folder_manifest(path)


class FeatureCache:
    """A cache opened for reading: the folder that stage one wrote, or the file that it was compacted into.

    Raises CacheError if it is absent, damaged or of a newer form.

    .key: sha256 of the recipe; .recipe: the recipe; .classes: class names; .names: {"source": …, "target": …}.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._store: Store = CompactFile(self.path) if self.path.is_file() else ShardFolder(self.path)
        self.manifest, self.dataset = self._store.manifest, self._store.dataset
        self.key: str = self.manifest["key"]
        self.recipe: dict[str, Any] = self.manifest["recipe"]
        self.warnings: tuple[str, ...] = tuple(self.manifest.get("warnings", ()))
        self.lists = Lists.of(self.dataset, f"the {form.DATASET} of {self.path}")
        self.classes, self.names, self.notes = self.lists.classes, self.lists.names, self.lists.notes

    @property
    def extracted(self) -> frozenset[str]:
        """Ids of all videos that have features."""
        return frozenset(self._store.where)

    @property
    def files(self) -> Sequence[Path]:
        """The HDF5 files that hold the features."""
        return self._store.files

    def has_test(self, domain: str) -> bool:
        """Whether a domain ("source" or "target") has a test list of its own."""
        return (domain, "test") in self.lists.listed

    def _listed(self, domain: str, split: str) -> Sequence[tuple[str, int | None]]:
        if domain not in DOMAINS or split not in SPLITS:
            raise CacheError(f"there is no {domain!r} {split!r} list", hint="source or target, train or test")
        if not self.has_test(domain) and split == "test":
            return self.lists.listed[domain, "train"] if domain == "target" else ()
        return self.lists.listed[domain, split]

    def videos(self, domain: str, split: str) -> list[CachedVideo]:
        """The extracted videos of a list, in its order; listed videos that failed are left out.

        A target without a test list is measured on its training videos: videos("target", "test") are these.
        """
        where = self._store.where
        return [CachedVideo(video, domain, label) for video, label in self._listed(domain, split) if video in where]

    def n_missing(self, domain: str) -> int:
        """How many of a domain's listed videos have no features."""
        listed = {video for split in SPLITS for video, _ in self._listed(domain, split)}
        return len(listed - self._store.where.keys())

    def views(self, video: str) -> tuple[str, ...]:
        """The views that a video has."""
        self.place(video)
        return self._store.views(video)

    def views_of(self, path: Path) -> tuple[str, ...]:
        """The views that one of the files has, of some of its videos at least."""
        return self._store.views_of(path)

    def place(self, video: str) -> tuple[Path, int]:
        """The file that holds a video, and its number there. Raises CacheError if there is no such video."""
        if video not in self._store.where:
            raise CacheError(f"the cache {self.path} has no video {video!r}")
        return self._store.where[video]

    def row(self, video: str) -> form.VideoRow:
        """What is known of a video: label at extraction, n_frames, fps, sha256 of its file."""
        path, row = self.place(video)
        return self._store.rows(path)[row]

    def domain(self, video: str) -> str:
        """The domain of a video, "source" or "target", listed or not."""
        path, row = self.place(video)
        return self._store.domain(path, row)

    def tables(self, path: Path, views: Sequence[str]) -> list[form.ViewTable]:
        """Where the clips of some views of a file lie, their features unread. Raises CacheError if it lacks one."""
        return self._store.tables(path, views)

    def mixing(self, path: Path, views: Sequence[str]) -> list[Mixing | None]:
        """Donors and gammas of some views of a file, of each of its videos; None for a view without mixing."""
        return self._store.mixing(path, views)

    def made_with(self) -> list[str]:
        """What computed the features, as JSON of versions: each distinct one, where files say so."""
        return sorted(self._store.made_with())

    def require_view(self, video: str, view: str) -> None:
        """Raises CacheError if a video lacks a view, naming those that it has."""
        if view not in self.views(video):
            raise CacheError(
                f"{video} has no view {view!r} in {self.path}",
                hint=f"it has {first_few(self.views(video), 12)}",
            )

    def clips(self, video: str, view: str = "plain") -> form.ViewClips:
        """One view of one video: features [n, D] float16, starts [n], and for mixes donor and gamma."""
        path, row = self.place(video)
        self.require_view(video, view)
        return self._store.clips(path, row, view)

    def features(self, video_id: str, view: str = "plain") -> NDArray[np.float16]:
        """[n, D] float16: the clips of one view of one video, in temporal order."""
        return self.clips(video_id, view).features

    def mixed_views(self) -> tuple[str, ...]:
        """The names of the background-mixing draws of this cache."""
        return stated_mixes(self.manifest)

    def failures(self) -> tuple[Mapping[str, str], ...]:
        """The videos that the last extract could not read: id, path, reason."""
        return self._store.failures()

    def summary(self) -> CacheSummary:
        """Counts, sizes and the recipe, for `comix cache info`."""
        lists = [which for which, listed in self.lists.listed.items() if listed]
        return CacheSummary(
            path=self.path,
            key=self.key,
            recipe=self.recipe,
            warnings=self.warnings,
            classes=self.classes,
            domain_names=self.names,
            listed={which: len(self._listed(*which)) for which in lists},
            extracted={which: len(self.videos(*which)) for which in lists},
            clips=dict(self._count_clips()),
            n_shards=len(self.files),
            n_bytes=self._store.n_bytes(),
            failures=self.failures(),
            measured=sum(video.label is not None for video in self.videos("target", "test")),
            unfinished_parts=tuple(record.part.name for record in self._store.records() if not record.finished),
        )

    def _count_clips(self) -> Iterator[tuple[str, int]]:
        totals: dict[str, int] = {}
        for path in self.files:
            views = self.views_of(path)
            for view, table in zip(views, self.tables(path, views), strict=True):
                totals[view] = totals.get(view, 0) + len(table.starts)
        yield from sorted(totals.items(), key=lambda item: (item[0] != "plain", item[0]))

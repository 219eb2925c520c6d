"""Reading a cache: which videos it holds, and their features."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.parts import read_records
from comix_fast.cache.reading import open_file, read_group, read_ids, read_videos, read_view, read_view_table
from comix_fast.cache.stored_json import read_json, read_marked
from comix_fast.config import digest, mixed_views
from comix_fast.errors import CacheError, first_few

OPEN_SHARDS = 2
DOMAINS = ("source", "target")
SPLITS = ("train", "test")


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


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest, its key checked against its recipe."""
    manifest: dict[str, Any] = read_marked(root / form.MANIFEST, "comix-cache")
    if manifest.get("key") != digest(manifest.get("recipe")):
        raise CacheError(
            f"{root / form.MANIFEST}: the key is not that of the recipe",
            hint="somebody edited it; the features still belong to the recipe they were made with",
        )
    return manifest


def read_failures(path: Path) -> tuple[Mapping[str, str], ...]:
    """The lines of a failures.json: id, path, reason. Raises CacheError if it is damaged."""
    # In caches of form 1 it is a bare list.
    value = read_json(path)
    listed = value if isinstance(value, list) else read_marked(path, "comix-failures").get("failures")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise CacheError(f"{path} holds no list of failures", hint="delete it; the next extract writes it again")
    return tuple({str(name): str(text) for name, text in one.items()} for one in listed)


class FeatureCache:
    """A cache opened for reading. Raises CacheError if it is absent, damaged or of a newer form.

    .key: sha256 of the recipe; .recipe: the recipe; .classes: class names; .names: {"source": …, "target": …}.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        manifest = read_manifest(self.path)
        self.key: str = manifest["key"]
        self.recipe: dict[str, Any] = manifest["recipe"]
        self.warnings: tuple[str, ...] = tuple(manifest.get("warnings", ()))
        self._lists = read_marked(self.path / form.DATASET, "comix-dataset")
        try:
            self.classes: tuple[str, ...] = tuple(self._lists["classes"])
            self.names = {domain: str(self._lists[domain]["name"]) for domain in DOMAINS}
            self.notes: tuple[str, ...] = tuple(self._lists.get("notes", ()))
        except (KeyError, TypeError) as error:
            raise CacheError(f"{self.path / form.DATASET} lacks {error}", hint="run extract again") from error
        self._where: dict[str, tuple[Path, int]] = {}
        self._n_videos: dict[Path, int] = {}
        self._views: dict[Path, tuple[str, ...]] = {}
        for shard in sorted((self.path / form.SHARDS).glob("*.h5")):
            self._index(shard)
        self._videos_of = functools.lru_cache(maxsize=None)(self._read_videos)
        # One small LRU per cache object: whole views of a shard, so that video-wise access stays cheap.
        n_views = len(self.recipe["views"]) + len(self.mixed_views())
        self._view = functools.lru_cache(OPEN_SHARDS * n_views)(self._read_view)

    def _index(self, path: Path) -> None:
        with open_file(path, "comix-shard") as file:
            if file.attrs.get("key") != self.key:
                raise CacheError(f"{path} belongs to another recipe", hint="move it out of this cache")
            views = read_group(file, "views", str(path), "group")
            self._views[path] = tuple(views)
            ids = read_ids(file, str(path))
            self._n_videos[path] = len(ids)
            for row, video in enumerate(ids):
                if video in self._where:
                    other = self._where[video][0].name
                    raise CacheError(f"{video} is in two shards, {other} and {path.name}", hint="remove one")
                self._where[video] = path, row

    def _read_videos(self, path: Path) -> list[form.VideoRow]:
        with open_file(path, "comix-shard") as file:
            return read_videos(file, str(path))

    def _read_view(self, path: Path, view: str) -> form.ShardView:
        with open_file(path, "comix-shard") as file:
            return read_view(file, view, self._n_videos[path], str(path))

    @property
    def extracted(self) -> frozenset[str]:
        """Ids of all videos that have features."""
        return frozenset(self._where)

    def has_test(self, domain: str) -> bool:
        """Whether a domain ("source" or "target") has a test list of its own."""
        return self._lists[domain].get("test") is not None

    def _listed(self, domain: str, split: str) -> list[tuple[str, int | None]]:
        if domain not in DOMAINS or split not in SPLITS:
            raise CacheError(f"there is no {domain!r} {split!r} list", hint="source or target, train or test")
        listed = self._lists[domain].get(split)
        if listed is None:
            listed = self._lists[domain]["train"] if domain == "target" else []
        return [(str(video), label) for video, label in listed]

    def videos(self, domain: str, split: str) -> list[CachedVideo]:
        """The extracted videos of a list, in its order; listed videos that failed are left out.

        A target without a test list is measured on its training videos: videos("target", "test") are these.
        """
        return [
            CachedVideo(video, domain, label) for video, label in self._listed(domain, split) if video in self._where
        ]

    def n_missing(self, domain: str) -> int:
        """How many of a domain's listed videos have no features."""
        listed = {video for split in SPLITS for video, _ in self._listed(domain, split)}
        return len(listed - self._where.keys())

    def views(self, video: str) -> tuple[str, ...]:
        """The views that a video has."""
        return self._views[self.place(video)[0]]

    def place(self, video: str) -> tuple[Path, int]:
        """The shard that holds a video, and its number there. Raises CacheError if there is no such video."""
        if video not in self._where:
            raise CacheError(f"the cache {self.path} has no video {video!r}")
        return self._where[video]

    def row(self, video: str) -> form.VideoRow:
        """What is known of a video: label at extraction, n_frames, fps, sha256 of its file."""
        path, row = self.place(video)
        return self._videos_of(path)[row]

    def tables(self, path: Path, views: Sequence[str]) -> list[form.ViewTable]:
        """Where the clips of some views of a shard lie, their features unread. Raises CacheError if it lacks one."""
        with open_file(path, "comix-shard") as file:
            return [read_view_table(file, view, self._n_videos[path], str(path)) for view in views]

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
        flat = self._view(path, view)
        rows = slice(int(flat.offsets[row]), int(flat.offsets[row + 1]))
        return form.ViewClips(
            flat.features[rows],
            flat.starts[rows],
            None if flat.donor is None else flat.donor[row],
            None if flat.gamma is None else float(flat.gamma[row]),
        )

    def features(self, video_id: str, view: str = "plain") -> NDArray[np.float16]:
        """[n, D] float16: the clips of one view of one video, in temporal order."""
        return self.clips(video_id, view).features

    def mixed_views(self) -> tuple[str, ...]:
        """The names of the background-mixing draws of this cache."""
        return mixed_views(int(self.recipe["views"].get("bgmix", {}).get("draws", 0)))

    def failures(self) -> tuple[Mapping[str, str], ...]:
        """The videos that the last extract could not read: id, path, reason."""
        path = self.path / form.FAILURES
        whole = read_failures(path) if path.exists() else ()
        parts = [one for record in read_records(self.path) for one in record.failures]
        # What a part failed at, another or a later run may have done.
        return (*whole, *(one for one in parts if one.get("id") not in self._where))

    def summary(self) -> CacheSummary:
        """Counts, sizes and the recipe, for `comix cache info`."""
        lists = [(domain, split) for domain in DOMAINS for split in SPLITS if self._lists[domain].get(split)]
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
            n_shards=len(self._views),
            n_bytes=sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file()),
            failures=self.failures(),
            measured=sum(video.label is not None for video in self.videos("target", "test")),
        )

    def _count_clips(self) -> Iterator[tuple[str, int]]:
        totals: dict[str, int] = {}
        for path, views in self._views.items():
            with open_file(path, "comix-shard") as file:
                for view in views:
                    totals[view] = totals.get(view, 0) + len(file["views"][view]["starts"])
        yield from sorted(totals.items(), key=lambda item: (item[0] != "plain", item[0]))

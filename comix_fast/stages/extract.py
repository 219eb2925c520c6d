"""Stage one: from videos to a cache of clip features. Resuming is a set difference: what is there is not redone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from comix_fast.backbones import Backbone
from comix_fast.cache.format import SHARDS, VideoRow, ViewClips
from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter, ShardWriter
from comix_fast.config import ExtractRecipe
from comix_fast.console import Advance, Reporter
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import CacheError, ComixError, VideoError, first_few
from comix_fast.stages.planning import Planner, VideoPlan
from comix_fast.stages.survey import Failure, chunks, content_bytes, failure, survey
from comix_fast.video import (
    ClipRequest,
    Decoder,
    mix_background,
    open_stream,
    stream_clips,
)


@dataclass(frozen=True)
class Extracted:
    """What an extract did. n_new: videos it extracted; failures: id, path and reason of those it could not."""

    cache: Path
    n_new: int
    n_present: int
    failures: tuple[Failure, ...]


def run(
    recipe: ExtractRecipe,
    dataset: Dataset,
    backbone: Backbone,
    decoder: Decoder,
    out: Path,
    *,
    reporter: Reporter,
    device: str = "cpu",
    shard_size: int = 32,
) -> Extracted:
    """Extracts what the cache at `out` lacks of the dataset.

    Videos that cannot be read are left out, listed in the result and in failures.json, and tried again by the
    next run. Raises CacheError if `out` belongs to another recipe; nothing is changed then.
    """
    warnings = [backbone.warning] if backbone.warning else []
    with CacheWriter.open(out, recipe, warnings) as cache:
        groups = video_groups(dataset)
        surveyed = _still_the_same(out, cache.key, recipe, groups)
        cache.write_dataset(dataset_lists(dataset))
        failures = survey(
            cache,
            _lacking(groups, surveyed),
            decoder=decoder,
            size=recipe.size,
            backgrounds=recipe.views.mixes > 0,
            shard_size=shard_size,
            reporter=reporter,
        )
        cache.write_failures(failures)
        surveys = Surveys(out, cache.key)
        present = FeatureCache(out).extracted
        readable = [(domain, [v for v in videos if v.id in surveys.rows]) for domain, videos in groups]
        missing = _lacking(readable, set(present))
        planner = Planner(recipe, dataset, surveys)
        extractor = Extractor(recipe, backbone, decoder, surveys, device)
        n_new = 0
        total = sum(planner.n_clips(video) for _, videos in missing for video in videos)
        if total:
            with reporter.progress("extracting features", total, "clips") as advance:
                for domain, videos in missing:
                    for some in chunks(videos, shard_size):
                        with cache.shard(domain) as shard:
                            failures += extractor.fill(shard, [planner.plan(video) for video in some], advance)
                        n_new += len(shard.rows)
        cache.write_failures(failures)
    listed = {video.id for _, videos in groups for video in videos}
    return Extracted(out, n_new, len(present & listed), tuple(failures))


def _still_the_same(
    out: Path, key: str, recipe: ExtractRecipe, groups: Sequence[tuple[str, Sequence[Video]]]
) -> set[str]:
    """Ids of the videos that are surveyed, and whose files are those of then.

    A survey of a file that has changed is dropped. Raises CacheError if a video that has features is another one
    now, or has become a training video and lacks its mixes: shards never change.
    """
    surveys = Surveys(out, key)
    known = [v for _, group in groups for v in group if v.id in surveys.rows]
    changed = [v.id for v in known if _changed(v, surveys.rows[v.id])]
    if any((out / SHARDS).glob("*.h5")):
        cache = FeatureCache(out)
        others = [name for name in changed if name in cache.extracted]
        if others:
            raise CacheError(
                f"{len(others):,} videos in {out} were extracted from other files: {first_few(others)}",
                hint="a cache keeps what it holds: use another --out for these videos",
            )
        # Training and test groups take turns, see video_groups.
        training = [v.id for _, group in groups[::2] for v in group if v.id in cache.extracted]
        bare = [name for name in training if not set(recipe.views.mixed) <= set(cache.views(name))]
        if bare:
            raise CacheError(
                f"{len(bare):,} training videos were extracted as test videos, without mixing: {first_few(bare)}",
                hint="a cache keeps what it holds: use another --out for these lists",
            )
    surveys.forget(changed)
    return set(Surveys(out, key).rows)


def _changed(video: Video, row: VideoRow) -> bool:
    try:
        return content_bytes(video) != row.n_bytes
    except VideoError:
        return True


def dataset_lists(dataset: Dataset) -> dict[str, Any]:
    """What the cache keeps of a dataset: names, classes, ids and labels of each list.

    The sentence on what is measured is left to each run, which knows its direction.
    """
    measured = dataset.measured()[1]
    lists: dict[str, Any] = {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "notes": [note for note in dataset.notes if note != measured],
    }
    for name, domain in (("source", dataset.source), ("target", dataset.target)):
        train = [[video.id, video.label] for video in domain.train]
        test = None if domain.test is None else [[video.id, video.label] for video in domain.test]
        lists[name] = {"name": domain.name, "train": train, "test": test}
    return lists


def video_groups(dataset: Dataset) -> list[tuple[str, list[Video]]]:
    """Each distinct video once: a domain's training videos, then those that are only tested on."""
    groups = []
    for name, domain in (("source", dataset.source), ("target", dataset.target)):
        train = {video.id: video for video in domain.train}
        test = {video.id: video for video in domain.test or () if video.id not in train}
        groups += [(name, list(train.values())), (name, list(test.values()))]
    return groups


def _lacking(groups: Sequence[tuple[str, Sequence[Video]]], have: set[str]) -> list[tuple[str, list[Video]]]:
    return [(domain, [video for video in videos if video.id not in have]) for domain, videos in groups]


@dataclass(frozen=True)
class Extractor:
    """Turns planned videos into features, batches filled across the videos of a shard."""

    recipe: ExtractRecipe
    backbone: Backbone
    decoder: Decoder
    surveys: Surveys
    device: str

    def fill(self, shard: ShardWriter, plans: Sequence[VideoPlan], advance: Advance) -> list[Failure]:
        """Adds every video of `plans` that can be read to the shard; returns the others."""
        failures: dict[int, Failure] = {}
        features = [
            {
                view: np.empty((len(starts), self.backbone.feature_dim), np.float16)
                for view, starts in plan.starts.items()
            }
            for plan in plans
        ]
        for members, clips in self._batches(plans, failures):
            values = self._features(clips)
            for (number, request), value in zip(members, values, strict=False):
                features[number][request.view][request.row] = value
            advance(len(members))
        for number, plan in enumerate(plans):
            if not all(np.isfinite(values).all() for values in features[number].values()) and number not in failures:
                reason = "the backbone gave features that are not finite; try --precision fp32, and check the weights"
                failures[number] = failure(plan.video, VideoError(reason))
            if number not in failures:
                shard.add(plan.row, _views(plan, features[number]))
        return list(failures.values())

    def _batches(
        self, plans: Sequence[VideoPlan], failures: dict[int, Failure]
    ) -> Iterator[tuple[list[tuple[int, ClipRequest]], list[NDArray[Any]]]]:
        """Members and clips of each batch; the last one padded to full size with its own last clip.

        A convolution may round differently for another batch size, so every batch has the recipe's.
        """
        members: list[tuple[int, ClipRequest]] = []
        clips: list[NDArray[Any]] = []
        for number, plan in enumerate(plans):
            try:
                for request, clip in self._clips(plan):
                    members.append((number, request))
                    clips.append(clip)
                    if len(clips) == self.recipe.batch_size:
                        yield members, clips
                        members, clips = [], []
            except VideoError as error:
                failures[number] = failure(plan.video, error)
        if clips:
            yield members, clips + [clips[-1]] * (self.recipe.batch_size - len(clips))

    def _clips(self, plan: VideoPlan) -> Iterator[tuple[ClipRequest, NDArray[Any]]]:
        """One decode of the video for all its views."""
        backgrounds = {view: self.surveys.background(draw.donor) for view, draw in plan.mixes.items()}
        with open_stream(plan.video.path, plan.video.segment, self.decoder) as stream:
            for request, clip in stream_clips(stream, plan.requests, self.recipe.size):
                if request.view in plan.mixes:
                    gamma = plan.mixes[request.view].gamma
                    yield request, mix_background(clip, backgrounds[request.view], gamma)
                else:
                    yield request, clip

    def _features(self, clips: Sequence[NDArray[Any]]) -> NDArray[np.float16]:
        pixels = torch.from_numpy(np.stack(clips)).to(self.device)
        batch = pixels.permute(0, 4, 1, 2, 3).float() * (2 / 255) - 1
        try:
            with torch.inference_mode():
                features: NDArray[np.float16] = self.backbone(batch).to("cpu", torch.float16).numpy()
        except torch.OutOfMemoryError as error:
            raise ComixError(
                f"the device has too little memory for {len(clips)} clips at once",
                hint="choose a smaller --batch-size (it is part of the recipe, so another --out), or --device cpu",
            ) from error
        return features


def _views(plan: VideoPlan, features: dict[str, NDArray[np.float16]]) -> dict[str, ViewClips]:
    views = {}
    for view, starts in plan.starts.items():
        draw = plan.mixes.get(view)
        donor, gamma = (None, None) if draw is None else (draw.donor, draw.gamma)
        views[view] = ViewClips(features[view], np.array(starts, dtype=np.int64), donor, gamma)
    return views

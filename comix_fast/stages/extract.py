"""Stage one: from videos to a cache of clip features. Resuming is a set difference: what is there is not redone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from comix_fast.backbones import Backbone
from comix_fast.cache.format import SHARDS, VideoRow
from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.config import ExtractRecipe
from comix_fast.console import Reporter
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import CacheError, VideoError, first_few
from comix_fast.stages.pipeline import Machine, Pipeline
from comix_fast.stages.planning import Planner
from comix_fast.stages.survey import Failure, content_bytes, survey
from comix_fast.video import Decoder


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
    threads: int | None = None,
) -> Extracted:
    """Extracts what the cache at `out` lacks of the dataset.

    threads: for decoding, and on a CPU for computing too; None takes torch's number, as a rule all cores. It changes
        no byte. Videos that cannot be read are left out, listed in the result and in failures.json, and tried again
        by the next run. Raises CacheError if `out` belongs to another recipe; nothing is changed then.
    """
    warnings = [backbone.warning] if backbone.warning else []
    machine = Machine(backbone, decoder, torch.device(device), threads or torch.get_num_threads())
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
            threads=machine.threads,
            reporter=reporter,
        )
        cache.write_failures(failures)
        surveys = Surveys(out, cache.key)
        present = FeatureCache(out).extracted
        readable = [(domain, [v for v in videos if v.id in surveys.rows]) for domain, videos in groups]
        planner = Planner(recipe, dataset, surveys)
        shards = [
            (domain, members)
            for domain, videos in _lacking(readable, set(present))
            for members in planner.shards(videos, shard_size)
        ]
        n_new = 0
        if shards:
            plans = (planner.plan(video) for _, members in shards for video in members)
            total = sum(planner.n_clips(video) for _, members in shards for video in members)
            with (
                reporter.progress("extracting features", total, "clips") as advance,
                Pipeline(recipe, machine, surveys, plans) as pipeline,
            ):
                filled = pipeline.shards((len(members) for _, members in shards), advance)
                for (domain, _), videos_of_shard in zip(shards, filled, strict=True):
                    with cache.shard(domain) as shard:
                        failures += videos_of_shard.into(shard)
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

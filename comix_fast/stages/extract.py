"""Stage one: from videos to a cache of clip features. Resuming is a set difference: what is there is not redone."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from comix_fast.backbones import Backbone
from comix_fast.cache.format import DATASET, SHARDS, SURVEYS, VideoRow
from comix_fast.cache.parts import PARTS, Division, Part
from comix_fast.cache.reader import FeatureCache
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.config import ExtractRecipe
from comix_fast.console import Reporter
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import CacheError, VideoError, first_few
from comix_fast.stages.blocks import Block, blocks_of, lists_digest, only_some
from comix_fast.stages.crew import Crew, Done, Here, Job
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.planning import Donors, Planner
from comix_fast.stages.provenance import made_with
from comix_fast.stages.survey import Failure, content_bytes
from comix_fast.video import UNLIMITED, Decoder


@dataclass(frozen=True)
class Extracted:
    """What an extract did. n_new: videos it extracted; failures: id, path and reason of those it could not.

    part: the part of the dataset that it was given; None for the whole.
    """

    cache: Path
    n_new: int
    n_present: int
    failures: tuple[Failure, ...]
    part: Part | None = None


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
    part: Part | None = None,
) -> Extracted:
    """Extracts what the cache at `out` lacks of the dataset, in this process.

    threads: for decoding, and on a CPU for computing too; None takes torch's number, as a rule all cores. It changes
        no byte. The rest is as in run_with.
    """
    job = Job(recipe, Donors.of(dataset), shard_size)
    machine = Machine(backbone, decoder, torch.device(device), threads or torch.get_num_threads())
    warnings = [backbone.warning] if backbone.warning else []
    versions = made_with(device)
    return run_with(Here(job, machine), job, dataset, out, reporter, warnings=warnings, versions=versions, part=part)


def run_with(
    crew: Crew,
    job: Job,
    dataset: Dataset,
    out: Path,
    reporter: Reporter,
    *,
    warnings: Sequence[str] = (),
    versions: dict[str, str] | None = None,
    part: Part | None = None,
) -> Extracted:
    """Extracts what the cache at `out` lacks of the dataset, or of one part of it, whoever does the work.

    warnings: kept in a new cache's manifest. versions: of what computes, kept in each shard. Videos that cannot be
    read are left out, listed in the result and in failures.json, and tried again by the next run. Raises CacheError
    if `out` belongs to another recipe; nothing is changed then.
    """
    with CacheWriter.open(out, job.recipe, warnings, part=part, made_with=versions) as cache:
        blocks: Sequence[Block] = blocks_of(dataset, job.shard_size)
        division = Division(part.of if part else 1, job.shard_size, lists_digest(dataset))
        if part is not None:
            cache.begin_part(division)
            blocks = part.share(blocks)
        if not (out / DATASET).exists():
            cache.write_dataset(dataset_lists(dataset))
        surveyed = _still_the_same(out, cache.key, job.recipe, blocks)
        cache.write_dataset(dataset_lists(dataset))
        lacking = only_some(blocks, lambda video: video not in surveyed)
        failures = crew.survey(cache, lacking, reporter, SURVEYS) if lacking else []
        if part is None:
            cache.write_failures(failures)
        present = FeatureCache(out).extracted
        unread = {one["id"] for one in failures}
        surveys = _with_donors(
            crew, cache, job, dataset, reporter, only_some(blocks, lambda video: video not in present), unread
        )
        todo = only_some(blocks, lambda video: video in surveys.rows and video not in present)
        done = crew.extract(cache, todo, surveys, reporter) if todo else Done()
        failures += done.failures
        if part is None:
            cache.write_failures(failures)
        else:
            cache.finish_part(division, failures)
            shutil.rmtree(out / _donors_folder(part), ignore_errors=True)
    listed = {video.id for block in blocks for video in block.videos}
    return Extracted(out, done.n_videos, len(present & listed), tuple(failures), part)


def _with_donors(
    crew: Crew,
    cache: CacheWriter,
    job: Job,
    dataset: Dataset,
    reporter: Reporter,
    blocks: Sequence[Block],
    unread: Set[str],
) -> Surveys:
    """The surveys of the blocks' videos and of all their donors.

    A part surveys donors of its own that no other part has come to; this costs decoding, and spares it the wait.
    unread: videos that this run has found unreadable.
    """
    if cache.part is None or not job.recipe.views.mixes:
        return Surveys(cache.root, cache.key)
    folder = _donors_folder(cache.part)
    videos = {video.id: (role, video) for role, domain in dataset.domains() for video in domain.train}
    unreadable = unread & videos.keys()
    while True:
        surveys = Surveys(cache.root, cache.key, folder)
        planner = Planner(job.recipe, job.donors, surveys)
        mine = [video for block in blocks for video in block.videos if video.id in surveys.rows]
        current = _current(surveys, {name: video for name, (_, video) in videos.items()})
        if stale := sorted(name for name in unreadable & surveys.rows.keys() if not current(name)):
            raise CacheError(
                f"{len(stale):,} videos have changed since another part surveyed them, and can't be read now: "
                + first_few(stale),
                hint="bring them back as they were, or use another --out",
            )
        unreadable -= surveys.rows.keys()
        wanted = planner.donors_to_look_at(mine, unreadable, current)
        if not wanted:
            return surveys
        for role in ("source", "target"):
            some = [video for name, (domain, video) in videos.items() if name in wanted and domain == role]
            if some:
                found = crew.survey(cache, _donor_blocks(role, some, job.shard_size), reporter, folder)
                unreadable |= {one["id"] for one in found}


def _current(surveys: Surveys, videos: Mapping[str, Video]) -> Callable[[str], bool]:
    """Whether a video is surveyed and its file that of then: another part may have looked before it was replaced."""

    @functools.cache
    def current(name: str) -> bool:
        return name in surveys.rows and not _changed(videos[name], surveys.rows[name])

    return current


def _donor_blocks(role: str, videos: Sequence[Video], size: int) -> list[Block]:
    return [
        Block(number, role, True, tuple(videos[first : first + size]))
        for number, first in enumerate(range(0, len(videos), size))
    ]


def _donors_folder(part: Part) -> str:
    return f"{PARTS}/{part.name}"


def _still_the_same(out: Path, key: str, recipe: ExtractRecipe, blocks: Sequence[Block]) -> set[str]:
    """Ids of the blocks' videos that are surveyed, and whose files are those of then.

    A survey of a file that has changed is dropped. Raises CacheError if a video that has features is another one
    now, or has become a training video and lacks its mixes: shards never change.
    """
    surveys = Surveys(out, key)
    changed = [
        video.id
        for block in blocks
        for video in block.videos
        if video.id in surveys.rows and _changed(video, surveys.rows[video.id])
    ]
    if any((out / SHARDS).glob("*.h5")):
        cache = FeatureCache(out)
        others = [name for name in changed if name in cache.extracted]
        if others:
            raise CacheError(
                f"{len(others):,} videos in {out} were extracted from other files: {first_few(others)}",
                hint="a cache keeps what it holds: use another --out for these videos",
            )
        training = [v.id for block in blocks if block.training for v in block.videos if v.id in cache.extracted]
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
        return content_bytes(video, UNLIMITED) != row.n_bytes
    except VideoError:
        # A disk that is away for a moment has changed nothing; who decodes the video will say what is wrong.
        return False


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

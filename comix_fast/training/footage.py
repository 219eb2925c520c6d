"""The videos of a run from frames: surveyed once, the same at every start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comix_fast.cache.format import SURVEYS
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.console import Reporter
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import DatasetError, RunError, VideoError, first_few
from comix_fast.files import remove_partial, write_json
from comix_fast.stages.runs import read_json
from comix_fast.stages.survey import content_bytes, survey
from comix_fast.training.recipe import VideoRecipe
from comix_fast.video import Decoder

VIDEOS = "videos"
"""Folder of a run: what the first decode of each video found."""
USED = "used.json"
SURVEYED_AT_ONCE = 32


@dataclass(frozen=True)
class Footage:
    """The videos of a run that can be read. measured: those with which target accuracy is measured.

    donors: ids of the source's and the target's training videos, all that are listed: backgrounds are drawn among them,
    those that can't be read being passed over, as stage one does.
    """

    source: tuple[Video, ...]
    target: tuple[Video, ...]
    measured: tuple[Video, ...]
    names: tuple[str, str]
    donors: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def transductive(self) -> bool:
        """Whether every measured video is one that is trained on, without its label."""
        return {video.id for video in self.measured} <= {video.id for video in self.target}

    def only(self, ids: set[str]) -> Footage:
        """Of these videos alone."""
        source, target, measured = (
            tuple(video for video in videos if video.id in ids) for videos in (self.source, self.target, self.measured)
        )
        return replace(self, source=source, target=target, measured=measured)


def listed_footage(dataset: Dataset, reverse: bool) -> Footage:
    """What a dataset lists, from its source to its target, or the other way about.

    Raises DatasetError if a source video has no label.
    """
    source, target = (dataset.target, dataset.source) if reverse else (dataset.source, dataset.target)
    if unlabelled := [video.id for video in source.train if video.label is None]:
        raise DatasetError(
            f"{len(unlabelled):,} source videos have no label: {first_few(unlabelled)}",
            hint="the source must be labelled; --reverse needs labels in both domains",
        )
    measured = target.train if target.test is None else target.test
    donors = tuple(video.id for video in source.train), tuple(video.id for video in target.train)
    return Footage(source.train, target.train, measured, (source.name, target.name), donors)


def surveyed(
    root: Path,
    listed: Footage,
    recipe: VideoRecipe,
    decoder: Decoder,
    backgrounds: bool,
    threads: int,
    reporter: Reporter,
) -> tuple[Footage, Surveys]:
    """The videos that can be read, and what is known of them; those that were decoded before are not decoded again.

    Videos that can't be read are left out with a warning. Raises RunError if other videos than at the run's beginning
    can be read, or one of them has changed.
    """
    writer = CacheWriter(root, {"size": recipe.size, "decoder": dict(recipe.decoder), "backgrounds": backgrounds})
    remove_partial(root / SURVEYS)
    before = Surveys(root, writer.key)
    _require_unchanged(root, before, listed)
    known = {video.id for group in _groups(listed) for video in group}
    lacking = [[video for video in group if video.id not in before.rows] for group in _groups(listed)]
    failures = survey(
        writer,
        list(zip(("source", "target"), lacking, strict=True)),
        decoder=decoder,
        size=recipe.size,
        backgrounds=backgrounds,
        shard_size=SURVEYED_AT_ONCE,
        threads=threads,
        reporter=reporter,
    )
    if failures:
        reporter.warn(
            f"{len(failures):,} videos can't be read and are left out: "
            + first_few(f"{failure['id']} ({failure['reason']})" for failure in failures)
        )
    surveys = Surveys(root, writer.key)
    usable = sorted(known & surveys.rows.keys())
    if (root / USED).exists() and read_json(root / USED) != usable:
        raise RunError(
            f"other videos can be read now than when {root.parent} began",
            hint="restore the files as they were then, or choose another --name",
        )
    write_json(root / USED, usable)
    return listed.only(set(usable)), surveys


def _groups(footage: Footage) -> tuple[list[Video], list[Video]]:
    """Each video once, by domain."""
    target = {video.id: video for video in (*footage.measured, *footage.target)}
    return list({video.id: video for video in footage.source}.values()), list(target.values())


def _require_unchanged(root: Path, surveys: Surveys, listed: Footage) -> None:
    videos: Sequence[Video] = [video for group in _groups(listed) for video in group if video.id in surveys.rows]
    changed = [video.id for video in videos if _bytes(video) != surveys.rows[video.id].n_bytes]
    if changed:
        raise RunError(
            f"{len(changed):,} videos are not those that {root.parent} began with: {first_few(changed)}",
            hint="restore the files as they were then, or choose another --name",
        )


def _bytes(video: Video) -> int | None:
    try:
        return content_bytes(video)
    except VideoError:
        return None

"""Who does the blocks of stage one: this process, others on this machine, or a cluster. All leave the same files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from comix_fast.cache.format import SURVEYS
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import CacheWriter
from comix_fast.config import ExtractRecipe
from comix_fast.console import Reporter
from comix_fast.stages.blocks import Block
from comix_fast.stages.pipeline import Machine, Pipeline
from comix_fast.stages.planning import Donors, Planner
from comix_fast.stages.survey import Failure, survey

Watch = Callable[[str], contextlib.AbstractContextManager[None]]
"""Entered, with a video's id, by the thread that decodes it, for as long as it does."""


@dataclass(frozen=True)
class Job:
    """What decides an extract's files, beside the videos. donors: whose backgrounds may be mixed into whose clips."""

    recipe: ExtractRecipe
    donors: Donors
    shard_size: int


@dataclass
class Done:
    """What came of some blocks. n_videos: those that have features now."""

    n_videos: int = 0
    n_clips: int = 0
    failures: list[Failure] = field(default_factory=list)


class Crew(Protocol):
    """Does blocks, writing into a cache whose lock its caller holds."""

    def survey(self, cache: CacheWriter, blocks: Sequence[Block], reporter: Reporter, folder: str) -> list[Failure]:
        """Decodes every video of the blocks once and writes what it finds into a folder of the cache.

        Returns the videos that can't be read, with the reason.
        """

    def extract(self, cache: CacheWriter, blocks: Sequence[Block], surveys: Surveys, reporter: Reporter) -> Done:
        """Extracts the features of every video of the blocks; all of them, and their donors, are in `surveys`."""


def unwatched(video: str) -> contextlib.AbstractContextManager[None]:
    """Nobody minds which video is being decoded."""
    return contextlib.nullcontext()


class Here:
    """Does blocks in this process.

    watch: entered around each decode. one_at_a_time: decode one video at a time, so that there is no doubt which one
    ended the process; this changes no byte. given_up: videos not to be touched, with the reason.
    """

    def __init__(
        self,
        job: Job,
        machine: Machine,
        *,
        watch: Watch = unwatched,
        one_at_a_time: bool = False,
        given_up: Mapping[str, Failure] | None = None,
    ) -> None:
        self._job, self._machine = job, machine
        self._watch, self._one_at_a_time = watch, one_at_a_time
        self._given_up = given_up or {}

    def survey(
        self, cache: CacheWriter, blocks: Sequence[Block], reporter: Reporter, folder: str = SURVEYS
    ) -> list[Failure]:
        """As Crew.survey."""
        recipe = self._job.recipe
        left_out, groups = self._without_given_up(blocks)
        return left_out + survey(
            cache,
            [(block.domain, block.videos) for block in groups],
            decoder=self._machine.decoder,
            size=recipe.size,
            backgrounds=recipe.views.mixes > 0,
            shard_size=self._job.shard_size,
            threads=1 if self._one_at_a_time else self._machine.threads,
            reporter=reporter,
            folder=folder,
            watch=self._watch,
        )

    def extract(self, cache: CacheWriter, blocks: Sequence[Block], surveys: Surveys, reporter: Reporter) -> Done:
        """As Crew.extract."""
        left_out, blocks = self._without_given_up(blocks)
        planner = Planner(self._job.recipe, self._job.donors, surveys)
        shards = [
            (block.domain, members)
            for block in blocks
            for members in planner.shards(block.videos, self._job.shard_size)
        ]
        done = Done(failures=left_out)
        if not shards:
            return done
        plans = (planner.plan(video) for _, members in shards for video in members)
        done.n_clips = sum(planner.n_clips(video) for _, members in shards for video in members)
        decoders = 1 if self._one_at_a_time else None
        with (
            reporter.progress("extracting features", done.n_clips, "clips") as advance,
            Pipeline(self._job.recipe, self._machine, surveys, plans, self._watch, decoders) as pipeline,
        ):
            filled = pipeline.shards((len(members) for _, members in shards), advance)
            for (domain, _), videos_of_shard in zip(shards, filled, strict=True):
                with cache.shard(domain) as shard:
                    done.failures += videos_of_shard.into(shard)
                done.n_videos += len(shard.rows)
        return done

    def _without_given_up(self, blocks: Sequence[Block]) -> tuple[list[Failure], list[Block]]:
        named = {video.id for block in blocks for video in block.videos} & self._given_up.keys()
        left = [block.only(lambda video: video not in named) for block in blocks]
        return [self._given_up[video] for video in sorted(named)], [block for block in left if block.videos]

"""Features of whole lists of videos as a backbone gives them now: what heads are measured on between two iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.backbones import Backbone
from comix_fast.cache.rows import LoadedRows
from comix_fast.cache.surveys import Surveys
from comix_fast.config import PLAIN, ExtractRecipe
from comix_fast.console import Advance
from comix_fast.datasets import Video
from comix_fast.errors import RunError
from comix_fast.stages.bank import FeatureBank
from comix_fast.stages.candidates import bins_of, labels_of
from comix_fast.stages.pipeline import Machine, Pipeline
from comix_fast.stages.planning import VideoPlan
from comix_fast.training.processes import Processes
from comix_fast.video import ClipPlan, ClipRequest, Decoder, clip_frames, plan_clips

AT_ONCE = 32
"""Videos whose features wait together."""


@dataclass(frozen=True)
class Extractor:
    """What turns videos into features, shared by the processes. threads: for decoding, and on a CPU for computing."""

    recipe: ExtractRecipe
    surveys: Surveys
    decoder: Decoder
    device: torch.device
    threads: int
    processes: Processes

    def part_clips(self, backbone: Backbone) -> int:
        """Clips that go through a frozen backbone together, as in stage one."""
        return Machine(backbone, self.decoder, self.device, self.threads).part_size(self.recipe.batch_size)

    def plan(self, video: Video) -> ClipPlan:
        """Its clips."""
        recipe, n_frames = self.recipe, self.surveys.rows[video.id].n_frames
        return plan_clips(n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)

    def bank(self, backbone: Backbone, videos: Sequence[Video], every: bool, advance: Advance) -> FeatureBank:
        """Float16 features, as a cache holds them. every: of all candidate clips, else of each bin's first alone.

        advance: hears how many clips more are done. Raises RunError if a video can't be read, or its features are not
        finite.
        """
        plans = [self.plan(video) for video in videos]
        starts = [plan.starts if every else plan.test_starts for plan in plans]
        count = np.array([len(some) for some in starts], np.int64)
        mine = range(self.processes.rank, len(videos), self.processes.count)
        own = [self._video_plan(videos[number], plans[number], starts[number]) for number in mine]
        rows = torch.from_numpy(self._computed(backbone, own, advance)).to(self.device)
        first = np.cumsum([0, *count[:-1]], dtype=np.int64)
        bin_first, bin_size = bins_of(first, count, self.recipe.bins)
        gathered = self._gathered(rows, count)
        return FeatureBank(
            tuple(video.id for video in videos), labels_of(videos), bin_first, bin_size, LoadedRows(gathered)
        )

    def _gathered(self, rows: Tensor, count: NDArray[np.int64]) -> Tensor:
        """Every video's rows in the videos' order, of which each process has every so-manieth."""
        n = self.processes.count
        if n == 1:
            return rows
        longest = max(int(count[rank::n].sum()) for rank in range(n))
        padded = rows.new_zeros(longest, rows.shape[1])
        padded[: len(rows)] = rows
        parts = self.processes.gather(padded.float()).half().view(n, longest, -1)
        split = [torch.split(parts[rank][: int(count[rank::n].sum())], count[rank::n].tolist()) for rank in range(n)]
        return torch.cat([split[number % n][number // n] for number in range(len(count))])

    def _video_plan(self, video: Video, plan: ClipPlan, starts: Sequence[int]) -> VideoPlan:
        requests = tuple(ClipRequest(PLAIN, row, clip_frames(plan, start)) for row, start in enumerate(starts))
        return VideoPlan(video, self.surveys.rows[video.id], requests, {PLAIN: tuple(starts)}, {})

    def _computed(self, backbone: Backbone, plans: Sequence[VideoPlan], advance: Advance) -> NDArray[np.float16]:
        """[n, D], video after video."""
        machine = Machine(backbone, self.decoder, self.device, self.threads)
        found: list[NDArray[np.float16]] = []
        sizes = [len(plans[first : first + AT_ONCE]) for first in range(0, len(plans), AT_ONCE)]
        with Pipeline(self.recipe, machine, self.surveys, plans) as pipeline:
            for filled in pipeline.shards(sizes, advance):
                if filled.failures:
                    name, failure = next(iter(filled.failures.items()))
                    raise RunError(f"{name} could be read before, and now can't: {failure['reason']}")
                found += [features[PLAIN] for _, features in filled.videos]
        features = np.concatenate(found) if found else np.empty((0, backbone.feature_dim), np.float16)
        if not np.isfinite(features).all():
            raise RunError(
                "the backbone gives features that are not finite",
                hint="try a lower --backbone-lr, --batch-norm frozen, or --precision fp32",
            )
        return features

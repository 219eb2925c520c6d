"""Decoding, resizing, mixing and the backbone, all at once: threads with bounded queues between them.

    decode threads ──clips of each video──▶ batches, in a fixed order ──▶ compute threads ──▶ rows of features

Every row is written where it belongs, so neither the number of threads nor who is first changes a byte. One video's
error is that video's alone; any other error, or Ctrl-C, ends every thread.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from comix_fast.backbones import Backbone
from comix_fast.cache.format import ViewClips
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.writer import ShardWriter
from comix_fast.config import ExtractRecipe
from comix_fast.console import Advance
from comix_fast.errors import ComixError, VideoError
from comix_fast.stages.pipeline_ahead import Ahead, Check
from comix_fast.stages.pipeline_workers import Workers
from comix_fast.stages.planning import VideoPlan
from comix_fast.stages.survey import Failure, content_bytes, failure
from comix_fast.video import ClipRequest, Decoder, open_stream, stream_windows
from comix_fast.video.pixels import Clip, DeviceResizer, DeviceScaler, HostResizer, HostScaler

CPU_CLIPS = 8
"""On a CPU a batch is computed in parts of this many clips, whose maps stay nearer to the cores: one thread is a
seventh faster so. Only by backbones whose features are the same then, to the bit, as those of the whole batch."""

PARTED = frozenset({"i3d", "r3d_18", "mc3_18"})

COMPUTE_PER_DECODE = 4
"""CPU threads that compute per one that decodes: I3D takes some twenty times as long as what comes before it."""

HELD_BATCHES = 2
"""Batches' worth of clips of one video that may wait, decoded. Clips share their frames, so these are some MB."""

Member = tuple[NDArray[np.float16], int, Clip[Any]]
"""A clip of a part, and the array and its row that the clip's features go to."""


@dataclass(frozen=True)
class Machine:
    """What computes. device: as torch names it. threads: for decoding, and on a CPU for computing too."""

    backbone: Backbone
    decoder: Decoder
    device: torch.device
    threads: int

    @property
    def on_cpu(self) -> bool:
        """Whether the backbone runs on the CPU."""
        return self.device.type == "cpu"

    def part_size(self, batch_size: int) -> int:
        """Clips computed at once: the recipe's batch, or parts of it where that is faster and gives the same."""
        parted = self.on_cpu and self.backbone.name in PARTED and batch_size % CPU_CLIPS == 0
        return CPU_CLIPS if parted else batch_size


@dataclass
class Filled:
    """The videos of one shard. n_open: parts not yet computed; failures by video id."""

    videos: list[tuple[VideoPlan, dict[str, NDArray[np.float16]]]]
    failures: dict[str, Failure]
    n_open: int = 0

    def into(self, shard: ShardWriter) -> list[Failure]:
        """Adds every video that is whole and has finite features; returns the others."""
        for plan, features in self.videos:
            name = plan.video.id
            if name not in self.failures and not all(np.isfinite(values).all() for values in features.values()):
                reason = "the backbone gave features that are not finite; try --precision fp32, and check the weights"
                self.failures[name] = failure(plan.video, VideoError(reason))
            if name not in self.failures:
                shard.add(plan.row, _views(plan, features))
        return [self.failures[plan.video.id] for plan, _ in self.videos if plan.video.id in self.failures]


class Pipeline:
    """Videos to features, shard after shard; used in a `with`, at whose end no thread is left.

    plans: of all shards, in order; taken as threads become free, so that the next shard's first videos are decoded
        while this one's last are computed.
    surveys: where backgrounds are; None where nothing is mixed.
    watch: entered around each decode with the video's id. decoders: threads that decode, where not as many as suit.
    """

    def __init__(
        self,
        recipe: ExtractRecipe,
        machine: Machine,
        surveys: Surveys | None,
        plans: Iterable[VideoPlan],
        watch: Callable[[str], contextlib.AbstractContextManager[None]] | None = None,
        decoders: int | None = None,
    ) -> None:
        self._watch = watch
        self._recipe, self._machine, self._surveys = recipe, machine, surveys
        self._part_size = machine.part_size(recipe.batch_size)
        n_threads = machine.threads
        n_decode, n_compute = (-(-n_threads // COMPUTE_PER_DECODE), n_threads) if machine.on_cpu else (n_threads, 1)
        self._ahead = Ahead(plans, self._watched, decoders or n_decode, HELD_BATCHES * recipe.batch_size)
        # More torch threads in each would only wait for one another.
        self._workers: Workers[list[Member], tuple[Filled, int]] = Workers(
            self._computer, n_compute, 1 if machine.on_cpu else None
        )
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._workers)
            opening.enter_context(self._ahead)
            self._videos = iter(self._ahead)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def shards(self, sizes: Iterable[int], advance: Advance) -> Iterator[Filled]:
        """The videos of each shard, `sizes` giving how many they are, in order, with all their features.

        Parts are filled across the videos of a shard. While its last parts are computed the next shard's first ones
        are under way; it is given out as soon as it is complete. Raises ComixError if the device has too little
        memory.
        """
        under_way: deque[Filled] = deque()
        for n_videos in sizes:
            shard = Filled([], {})
            for part in self._parts(shard, n_videos):
                shard.n_open += 1
                self._tell(self._workers.put(part, (shard, len(part))), advance)
                while under_way and not under_way[0].n_open:
                    yield under_way.popleft()
            under_way.append(shard)
        while under_way:
            while under_way[0].n_open:
                self._tell(self._workers.some(), advance)
            yield under_way.popleft()

    def _tell(self, done: Iterable[tuple[Filled, int]], advance: Advance) -> None:
        for shard, n_clips in done:
            shard.n_open -= 1
            advance(n_clips)

    def _parts(self, shard: Filled, n_videos: int) -> Iterator[list[Member]]:
        """The clips of the next n_videos, `part_size` at a time; videos that fail on the way are noted."""
        part: list[Member] = []
        for plan, clips in itertools.islice(self._videos, n_videos):
            width = self._machine.backbone.feature_dim
            features = {view: np.empty((len(starts), width), np.float16) for view, starts in plan.starts.items()}
            shard.videos.append((plan, features))
            try:
                for request, clip in clips:
                    part.append((features[request.view], request.row, clip))
                    if len(part) == self._part_size:
                        yield part
                        part = []
            except VideoError as error:
                shard.failures[plan.video.id] = failure(plan.video, error)
        if part:
            yield part

    def _watched(self, plan: VideoPlan, check: Check) -> Iterator[tuple[ClipRequest, Clip[Any]]]:
        with contextlib.nullcontext() if self._watch is None else self._watch(plan.video.id):
            yield from self._clips(plan, check)
            # What was surveyed hours ago may have been replaced since: its row would tell of another file.
            if plan.row.n_bytes and content_bytes(plan.video, self._machine.decoder.limits) != plan.row.n_bytes:
                raise VideoError(f"{plan.video.path}: has changed since it was surveyed; give the command again")

    def _clips(self, plan: VideoPlan, check: Check) -> Iterator[tuple[ClipRequest, Clip[Any]]]:
        """One decode of the video for all its views; runs in a decode thread."""
        size, device = self._recipe.size, self._machine.device
        resizer = HostResizer(size) if self._machine.on_cpu else DeviceResizer(size, device)
        backgrounds = {}
        for view, mix in plan.mixes.items():
            assert self._surveys is not None, "mixes take backgrounds"
            backgrounds[view] = self._surveys.background(mix.donor)
        with open_stream(plan.video.path, plan.video.segment, self._machine.decoder) as stream:
            for request, window in stream_windows(stream, plan.requests, resizer):
                check()
                draw = plan.mixes.get(request.view)
                if draw is None:
                    yield request, Clip(window)
                else:
                    yield request, Clip(window, backgrounds[request.view], draw.gamma)

    def _computer(self) -> Any:
        """What a compute thread does with a part; called once in each.

        A part that is not full is filled with its last clip: where a convolution rounds differently for another
        number of clips, every clip is computed with the same number of others.
        """
        machine = self._machine
        scaler: Any = HostScaler() if machine.on_cpu else DeviceScaler(machine.device)

        def compute(part: list[Member]) -> None:
            clips = [clip for _, _, clip in part]
            clips += [clips[-1]] * (self._part_size - len(clips))
            try:
                with torch.inference_mode():
                    values = machine.backbone(scaler(clips)).to("cpu", torch.float16).numpy()
            except torch.OutOfMemoryError as error:
                raise ComixError(
                    f"the device has too little memory for {len(clips)} clips at once",
                    hint="choose a smaller --batch-size (it is part of the recipe, so another --out), or --device cpu",
                ) from error
            for (features, row, _), value in zip(part, values, strict=False):
                features[row] = value

        return compute


def _views(plan: VideoPlan, features: dict[str, NDArray[np.float16]]) -> dict[str, ViewClips]:
    views = {}
    for view, starts in plan.starts.items():
        draw = plan.mixes.get(view)
        donor, gamma = (None, None) if draw is None else (draw.donor, draw.gamma)
        views[view] = ViewClips(features[view], np.array(starts, dtype=np.int64), donor, gamma)
    return views

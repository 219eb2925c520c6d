"""Features computed as a step draws them, and the backbone's own step: the upstream of comix_fast.stages.stack.

The head's losses couple all videos of an iteration, so every feature must be there before the first gradient is. The
backbone therefore works in parts: first each part's features, without keeping its maps; then the loss and its gradient
with respect to the features; then each part once more, with its maps, and back through it (Gao et al. 2021, "Scaling
Deep Contrastive Learning Batch Size under Memory Limited Setup"). Memory is that of one part, the gradient that of the
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from comix_fast.backbones.backbone import exactly
from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.errors import ComixError, RunError
from comix_fast.stages.pooling import temporal_statistics
from comix_fast.stages.stack import cosine_lr
from comix_fast.training.decoding import FramesAhead, Streams
from comix_fast.training.frames import FrameRows
from comix_fast.training.processes import Processes
from comix_fast.training.recipe import Graphs
from comix_fast.video.pixels import Clip, DeviceScaler, HostScaler


class Schedule(NamedTuple):
    """How a backbone is updated. lr: at the start of a phase of so many iterations."""

    lr: float
    momentum: float
    weight_decay: float
    iterations: int


@dataclass(eq=False)
class Part:
    """Clips that go through the backbone together.

    maps: what its frozen parts gave, where there are any. features: with their graph, where it is kept.
    """

    clips: list[Clip[Any]]
    maps: Tensor | None = None
    features: Tensor | None = None


@dataclass(eq=False)
class Taken:
    """What was computed for one stream: this process's parts, and all features as the head was given them."""

    parts: list[Part]
    given: Tensor


class Computing:
    """Features of a backbone that is frozen: the numbers that a cache has, rounded to float16 as they are there.

    open_frames: opens the decoding of the iterations from one on. statistics: of clips over time, where the head takes
    these. part_clips: how many clips go through the backbone together.
    """

    def __init__(
        self,
        backbone: Callable[[Tensor], Tensor],
        open_frames: Callable[[int], FramesAhead],
        processes: Processes,
        *,
        device: torch.device,
        part_clips: int,
        statistics: Sequence[str] = (),
    ) -> None:
        self._backbone, self._open_frames, self._processes = backbone, open_frames, processes
        self._device, self._part_clips, self._statistics = device, part_clips, statistics
        self._frames: FramesAhead | None = None
        self._streams: Iterator[list[list[Clip[Any]]]] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._frames is not None:
            self._frames.__exit__(kind, error, trace)
            self._frames = None

    def begin(self, iteration: int) -> None:
        """See Upstream. The iterations of one opening follow one another."""
        if self._frames is None:
            self._frames = self._open_frames(iteration).__enter__()
        streams: Streams = self._frames.next()
        self._streams = iter(streams)

    def take(self, rows: FrameRows, index: Tensor) -> Tensor:
        """[1, b, B] rows of the next stream -> [1, b, B, D] features, or [1, b, 1, S · D] statistics of them."""
        clips = [clip for of_video in next(self._streams) for clip in of_video]
        try:
            own = self._features(clips)
        except torch.OutOfMemoryError as error:
            raise _too_large(error) from error
        features = self._given(self._processes.gather(own)).view(*index.shape, -1)
        if self._statistics:
            return temporal_statistics(features, self._statistics).unsqueeze(-2)
        return features

    def learn(self, iteration: int, gradients: Sequence[Tensor]) -> None:
        """See Upstream: the head's gradients are made equal over processes."""
        if self._processes.count > 1:
            self._processes.add(gradients)
            for gradient in gradients:
                gradient.div_(self._processes.count)

    def _features(self, clips: list[Clip[Any]]) -> Tensor:
        with torch.inference_mode():
            found = [self._backbone(self._scaled(part)) for part in self._filled_parts(clips)]
            # Training in its first iterations may make much of the smallest difference to a cache.
            features = torch.cat(found)[: len(clips)].half().float()
        # Copied out of inference mode: the head keeps its inputs for the way back.
        return features.clone()

    def _filled_parts(self, clips: list[Clip[Any]]) -> Iterator[list[Clip[Any]]]:
        """As stage one fills them: a part that is not full has its last clip again."""
        for first in range(0, len(clips), self._part_clips):
            part = clips[first : first + self._part_clips]
            yield part + [part[-1]] * (self._part_clips - len(part))

    def _given(self, features: Tensor) -> Tensor:
        return features

    def _scaled(self, clips: Sequence[Clip[Any]]) -> Tensor:
        """Float32 [n, 3, T, size, size] in [-1, 1] in memory of their own."""
        scaler: Any = HostScaler() if self._device.type == "cpu" else DeviceScaler(self._device)
        pixels: Tensor = scaler(clips)
        return pixels


class Learning(Computing):
    """Features of a backbone that learns by SGD with momentum.

    graphs: "recompute" as the module says; "keep" keeps all maps from the features to the gradient, which is a quarter
    faster where there is memory for every clip of an iteration. One part alone is always kept.
    """

    def __init__(
        self,
        backbone: TrainableBackbone,
        open_frames: Callable[[int], FramesAhead],
        processes: Processes,
        *,
        schedule: Schedule,
        part_clips: int,
        graphs: Graphs,
        n_parts: int,
        statistics: Sequence[str] = (),
    ) -> None:
        """n_parts: how many parts an iteration has, all streams together."""
        super().__init__(
            backbone, open_frames, processes, device=backbone.device, part_clips=part_clips, statistics=statistics
        )
        self._network, self._schedule = backbone, schedule
        self._keeps = graphs == "keep" or n_parts == 1
        self._taken: list[Taken] = []
        self._optimiser = torch.optim.SGD(
            backbone.trained().values(),
            lr=schedule.lr,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            fused=True,
        )

    def momentum(self) -> dict[str, Tensor]:
        """The optimiser's, by parameter; of parameters that have not been updated, none."""
        buffers = {name: self._optimiser.state[value].get("momentum_buffer") for name, value in self._named()}
        return {name: buffer for name, buffer in buffers.items() if buffer is not None}

    def load_momentum(self, buffers: dict[str, Tensor]) -> None:
        """Goes on with what momentum() gave; it is copied."""
        for name, value in self._named():
            if name in buffers:
                # In the parameter's order of memory: the fused update takes numbers as they lie there.
                self._optimiser.state[value]["momentum_buffer"] = torch.empty_like(value.detach()).copy_(buffers[name])

    def _named(self) -> list[tuple[str, torch.nn.Parameter]]:
        return list(self._network.trained().items())

    def begin(self, iteration: int) -> None:
        """See Upstream."""
        super().begin(iteration)
        self._taken = []
        self._network.statistics.begin()

    def _features(self, clips: list[Clip[Any]]) -> Tensor:
        size = self._part_clips
        parts = [Part(clips[first : first + size]) for first in range(0, len(clips), size)]
        found = []
        with torch.set_grad_enabled(self._keeps):
            for part in parts:
                maps = self._network.before(self._scaled(part.clips))
                with self._network.statistics.counting():
                    features = self._network.after(maps)
                part.maps = maps if self._network.has_frozen_parts else None
                part.features = features if self._keeps else None
                found.append(features.detach())
        self._taken.append(Taken(parts, torch.empty(0)))
        return torch.cat(found)

    def _given(self, features: Tensor) -> Tensor:
        self._taken[-1].given = features.requires_grad_()
        return features

    def learn(self, iteration: int, gradients: Sequence[Tensor]) -> None:
        """See Upstream: back through the backbone, and its update."""
        super().learn(iteration, gradients)
        try:
            # The way back chooses its algorithms when it is gone, not when it was laid out.
            with self._network.statistics.resting(), exactly(self._device):
                self._back()
        except torch.OutOfMemoryError as error:
            raise _too_large(error) from error
        self._network.statistics.end(len(self._taken), self._processes.average)
        learnt = [value.grad for _, value in self._named() if value.grad is not None]
        if learnt:
            self._processes.add(learnt)
        for group in self._optimiser.param_groups:
            group["lr"] = cosine_lr(self._schedule.lr, iteration, self._schedule.iterations)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def _back(self) -> None:
        kept: list[tuple[Tensor, Tensor]] = []
        for taken in self._taken:
            if taken.given.grad is None:
                # The method has no use for this stream.
                continue
            mine = taken.given.grad.chunk(self._processes.count)[self._processes.rank]
            sizes = [len(part.clips) for part in taken.parts]
            for part, gradient in zip(taken.parts, torch.split(mine, sizes), strict=True):
                if part.features is not None:
                    kept.append((part.features, gradient))
                else:
                    maps = self._network.before(self._scaled(part.clips)) if part.maps is None else part.maps
                    torch.autograd.backward(self._network.after(maps), gradient)
        if kept:
            torch.autograd.backward([features for features, _ in kept], [gradient for _, gradient in kept])


def _too_large(error: Exception) -> ComixError:
    return RunError(
        f"the device has too little memory: {str(error).splitlines()[0]}",
        hint="try a smaller --micro-batch, --checkpoint-activations, --graphs recompute or --precision bf16",
    )

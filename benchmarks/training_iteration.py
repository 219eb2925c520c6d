"""Whole iterations of end-to-end training on clips made up in memory: the network, the losses and the step of a run.

Nothing is decoded; everything after the decoding is what `comix finetune` and `comix train` do, draws included.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from comix_fast.backbones.precision import Precision
from comix_fast.backbones.trainable import BatchNorm, TrainableBackbone
from comix_fast.datasets import Video
from comix_fast.heads import TemporalGraph
from comix_fast.objectives import Comix, SourceOnly
from comix_fast.presets import train_preset
from comix_fast.stages.bank import identity_norms
from comix_fast.stages.batches import AdaptationDraws, Draws, SupervisedDraws
from comix_fast.stages.stack import Member, Stack
from comix_fast.training.frames import FrameBanks, FrameRows, Others, frame_bank
from comix_fast.training.learning import Learning, Schedule
from comix_fast.training.processes import Processes
from comix_fast.training.recipe import Graphs, VideoRecipe
from comix_fast.video.pixels import Clip

N_FRAMES, SIZE, CLASSES = 72, 224, 12
LISTED = 12
"""Videos in each domain's list; only what an iteration draws of them costs anything."""


@dataclass(frozen=True)
class Setting:
    """What a user chooses. command: "finetune", one stream of videos, or "train", four."""

    command: str = "train"
    precision: Precision = "bf16"
    micro_batch: int | None = None
    graphs: Graphs = "recompute"
    checkpoints: bool = False
    train_from: str | None = None
    batch_norm: BatchNorm = "train"
    videos: int = 8
    clips: int = 16

    @property
    def n_streams(self) -> int:
        """Source, or source, target and a mix of each."""
        return 1 if self.command == "finetune" else 4

    @property
    def at_once(self) -> int:
        """Videos whose maps are kept at one time."""
        together = min(self.micro_batch or self.videos, self.videos)
        n_parts = self.n_streams * -(-self.videos // together)
        return self.n_streams * self.videos if self.graphs == "keep" or n_parts == 1 else together


class Clock:
    """Adds up seconds under names; time inside a name is not counted by the one around it."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device, self._open, self._since = device, ["other"], time.perf_counter()

    def restart(self) -> None:
        """Counts from now on."""
        self._turn()
        self.seconds.clear()

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts what runs inside under this name."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


class TimedBackbone(TrainableBackbone):
    """The backbone, its passes counted as the first and, during the way back, as the second."""

    clock: Clock
    again = False

    def before(self, clips: Tensor) -> Tensor:
        with self.clock("frozen parts"):
            return super().before(clips)

    def after(self, maps: Tensor) -> Tensor:
        with self.clock("forward again" if self.again else "forward"):
            return super().after(maps)


class TimedLearning(Learning):
    """The upstream of a run, counted."""

    def __init__(self, backbone: TimedBackbone, frames: MadeUpFrames, **options: Any) -> None:
        super().__init__(backbone, lambda _: frames, Processes(), **options)  # type: ignore[arg-type,return-value]
        self._timed = backbone

    def begin(self, iteration: int) -> None:
        with self._timed.clock("frames"):
            super().begin(iteration)

    def take(self, rows: FrameRows, index: Tensor) -> Tensor:
        with self._timed.clock("scaling"):
            return super().take(rows, index)

    def learn(self, iteration: int, gradients: Sequence[Tensor]) -> None:
        with self._timed.clock("update"):
            super().learn(iteration, gradients)

    def _back(self) -> None:
        self._timed.again = True
        with self._timed.clock("backward"):
            super()._back()
        self._timed.again = False


class MadeUpFrames:
    """Stands for FramesAhead: the same drawn pixels in every iteration, each video's frames shared by its streams."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        rng = np.random.default_rng(0)
        shape = (min(2, setting.n_streams) * setting.videos, N_FRAMES, SIZE, SIZE, 3)
        frames = rng.integers(256, size=shape, dtype=np.uint8)
        self._background = frames[0, 0]
        self._frames: Any = frames if device.type == "cpu" else torch.from_numpy(frames).to(device)
        self._setting = setting

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def next(self) -> list[list[list[Clip[Any]]]]:
        """As FramesAhead.next."""
        return [[self._clips(stream, place) for place in range(self._setting.videos)] for stream in self._streams()]

    def _streams(self) -> range:
        return range(self._setting.n_streams)

    def _clips(self, stream: int, place: int) -> list[Clip[Any]]:
        domain, mixed = stream % 2, stream >= 2
        frames = self._frames[domain * self._setting.videos + place]
        behind, gamma = (self._background, 0.25) if mixed else (None, 0.0)
        return [Clip(list(frames[4 * n : 4 * n + 8]), behind, gamma) for n in range(self._setting.clips)]


class Iterations:
    """A run's iterations, ready to be taken: `stack.step(number)`; `clock` says where their time went."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        self.clock = Clock(device)
        self.backbone = TimedBackbone(
            "i3d",
            "random",
            precision=setting.precision,
            device=device,
            batch_norm=setting.batch_norm,
            train_from=setting.train_from,
            recomputes=setting.checkpoints,
        )
        self.backbone.clock = self.clock
        recipe = train_preset("ucf-hmdb").with_changes({"batch_size": setting.videos, "precision": setting.precision})
        together = min(setting.micro_batch or setting.videos, setting.videos)
        learning = TimedLearning(
            self.backbone,
            MadeUpFrames(setting, device),
            schedule=Schedule(0.001, recipe.momentum, recipe.weight_decay, 100),
            part_clips=together * setting.clips,
            graphs=setting.graphs,
            n_parts=setting.n_streams * -(-setting.videos // together),
        )
        self.learning = learning
        torch.manual_seed(0)
        head = TemporalGraph(self.backbone.feature_dim, recipe.hidden_dim, CLASSES, precision=setting.precision)
        finetunes = setting.command == "finetune"
        norms = identity_norms(self.backbone.feature_dim, device)
        member = Member(
            head=head.to(device),
            recipe=recipe,
            seed=0,
            phase="warmstart" if finetunes else "adapt",
            draws=_draws(setting, learning, finetunes),
            norms=norms,
            iterations=100,
            report_every=100,
            reported=lambda *_: None,
            objective=SourceOnly() if finetunes else Comix(bgm=True, tpl=True, mixed=True),
            upstream=learning,
        )
        self.stack = Stack([member])


def _draws(setting: Setting, learning: Learning, finetunes: bool) -> Draws:
    video = VideoRecipe(backbone={}, decoder={}, bins=setting.clips)
    ids = [[f"{domain}{number}" for number in range(LISTED)] for domain in ("a", "b")]
    banks = FrameBanks(
        *(
            frame_bank(
                [Video(name, Path(name), place % CLASSES) for place, name in enumerate(own)],
                lambda _: N_FRAMES,
                video,
                Others(other, lambda _: True),
                learning.take,
            )
            for own, other in zip(ids, ids[::-1], strict=True)
        )
    )
    if finetunes:
        return SupervisedDraws(banks.source, setting.videos, 0, "warmstart")
    return AdaptationDraws(banks, setting.videos, 0, mixing=True)

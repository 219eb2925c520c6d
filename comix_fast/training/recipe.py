"""What decides a run from frames beside the head's recipe: the backbone, what of it learns, the clips it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comix_fast.backbones.precision import Precision
from comix_fast.backbones.trainable import BatchNorm
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.errors import ComixError

FRESH_DRAWS = 2**20
"""Draws of background mixing to choose among where each iteration is to have its own, as published."""

Graphs = Literal["recompute", "keep"]


@dataclass(frozen=True)
class VideoRecipe:
    """Everything that decides what a backbone learns, beside the AdaptRecipe of the head, the losses and the schedule.

    The defaults are the published form (CoMix, section 4 and published code).

    backbone: name and sha256 of what it starts from; decoder: name and version.
    precision: what the backbone computes in; weights are float32 either way.
    lr: of the backbone at the start of each phase; a cosine takes it to zero. Momentum and decay are the head's.
    batch_norm: "train" normalises by the clips at hand, "frozen" by the statistics that the weights brought.
    freeze: the backbone does not learn at all. train_from: its first part that learns; None: the whole of it.
    bins: clips a video and iteration; mixes: draws of background mixing for each video, as a cache holds them; None:
    a fresh one each time (published). mix_seed: decides donors, γ and starts of the mixes.
    micro_batch: videos that go through the backbone together, and whose clips batch norm sees together; None: a whole
    stream. processes: how many share an iteration's videos. device: "cpu" or "cuda".
    """

    backbone: Mapping[str, Any]
    decoder: Mapping[str, str]
    precision: Precision = "fp32"
    lr: float = 0.001
    batch_norm: BatchNorm = "train"
    freeze: bool = False
    train_from: str | None = None
    bins: int = 16
    mixes: int | None = None
    mix_seed: int = 0
    gamma_max: float = 0.5
    micro_batch: int | None = None
    processes: int = 1
    device: str = "cpu"
    size: int = 224
    clip_length: int = 8
    stride: int = 4
    min_frames: int = 72

    def __post_init__(self) -> None:
        """Refuses values no run can have, naming the option."""
        for name, option in (("lr", "--backbone-lr"), ("bins", "--clips"), ("processes", "--devices")):
            # Not a number is not above 0 either.
            if not getattr(self, name) > 0:
                raise ComixError(f"{option} must be above 0, not {getattr(self, name)}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ComixError(f"--micro-batch must be above 0, not {self.micro_batch}")
        if self.mixes is not None and not 1 <= self.mixes <= 64:
            raise ComixError(f"--mixes must be between 1 and 64, not {self.mixes}")
        if self.bins * self.stride + self.clip_length > self.min_frames:
            most = (self.min_frames - self.clip_length) // self.stride
            raise ComixError(f"--clips must be {most} or fewer, not {self.bins}: short videos have no more")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, one per field."""
        return dataclasses.asdict(self)

    def extract_recipe(self, backbone: Mapping[str, Any], batch_size: int) -> ExtractRecipe:
        """How features are to be extracted so that heads of this run take them: of all candidates, nothing mixed."""
        return ExtractRecipe(
            backbone=backbone,
            decoder=self.decoder,
            views=ViewPlan((), 0),
            size=self.size,
            clip_length=self.clip_length,
            stride=self.stride,
            bins=self.bins,
            min_frames=self.min_frames,
            batch_size=batch_size,
            device=self.device,
        )

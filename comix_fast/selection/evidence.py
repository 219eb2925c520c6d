"""What a score may see of one model: nothing here can hold a target label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from comix_fast.errors import ShapeError

Mixed = Callable[[Tensor, Tensor, float], Tensor]
"""(first [M] int64, second [M] int64, share) -> logits [M, C] for the inputs share·x[first] + (1 − share)·x[second] of
target videos."""

SEED = 0
"""Of every draw a score makes: from a generator of its own, so one model scores the same whenever it is asked."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Source videos with their labels.

    features: [V, D] float, what the model's last layer sees. logits: [V, C] float. labels: [V] int64 in 0..C−1.
    Raises ShapeError if the three do not fit together.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        _two_axes(features=self.features, logits=self.logits)
        if not len(self.features) == len(self.logits) == self.labels.numel() or self.labels.ndim != 1:
            raise ShapeError(
                f"features {list(self.features.shape)}, logits {list(self.logits.shape)} and labels "
                f"{list(self.labels.shape)} must be of the same videos: [V, D], [V, C] and [V]"
            )


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a label-free score may see of one model; there is no field for target labels.

    logits: [V, C] float, the target's unlabelled training videos.
    features: [V, D] float, what the model's last (linear) layer sees of the same videos.
    source: the source's training videos, and held_out: source videos the model was not trained on (a source test list),
        both for DEV alone; None: DEV is None.
    classifier: [C, D] float, weights of the last linear layer, for Transfer Score; None where there is none.
    mixed: the model on mixed target videos, for MixVal; None: MixVal is None.
    Tensors may be on any device and in any float type; scores are computed in float64 on the CPU.
    Raises ShapeError if they do not fit together.
    """

    logits: Tensor
    features: Tensor
    source: Labelled | None = None
    held_out: Labelled | None = None
    classifier: Tensor | None = None
    mixed: Mixed | None = None

    def __post_init__(self) -> None:
        _two_axes(features=self.features, logits=self.logits)
        if len(self.features) != len(self.logits):
            raise ShapeError(f"{len(self.features):,} rows of features but {len(self.logits):,} of logits")
        shape = (self.logits.shape[1], self.features.shape[1])
        for name, videos in (("source", self.source), ("held_out", self.held_out)):
            if videos is not None and (videos.logits.shape[1], videos.features.shape[1]) != shape:
                raise ShapeError(
                    f"{name} has {videos.logits.shape[1]} classes and {videos.features.shape[1]} features, "
                    f"the target {shape[0]} and {shape[1]}"
                )
        if self.classifier is not None and tuple(self.classifier.shape) != shape:
            raise ShapeError(f"classifier must be {list(shape)}, not {list(self.classifier.shape)}")


def exact(values: Tensor) -> Tensor:
    """The same numbers in float64 on the CPU, without history."""
    return values.detach().to("cpu", torch.float64)


def generator() -> torch.Generator:
    """A fresh generator at SEED; no global state is read or changed."""
    return torch.Generator().manual_seed(SEED)


def thinned(videos: int, most: int) -> Tensor:
    """[min(videos, most)] int64: all of 0..videos−1 in order, or a seeded draw without repeats, in order."""
    if videos <= most:
        return torch.arange(videos)
    return torch.randperm(videos, generator=generator())[:most].sort().values


def _two_axes(**given: Tensor) -> None:
    for name, tensor in given.items():
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise ShapeError(f"{name} must be two axes of at least one, not {list(tensor.shape)}")

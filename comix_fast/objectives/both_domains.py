"""What the classical methods have in common: one pass over several streams, and the source's loss beside their own."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from comix_fast.heads import Head
from comix_fast.losses import classification_loss
from comix_fast.objectives.objective import Batch, Terms


class Stream(NamedTuple):
    """A stream that went through a head: features [B, F], what its last layer sees, and logits [B, C]."""

    features: Tensor
    logits: Tensor

    def aligned(self, of_features: bool) -> Tensor:
        """What is drawn to the other domain: the features, or the logits where no parameter moves these."""
        return self.features if of_features else self.logits


def one_pass(head: Head, batch: Batch, *streams: Tensor) -> list[Stream]:
    """Several [b, B, D] streams through the head together, with the iteration's first dropout factors."""
    joined = torch.cat(streams, dim=-3)
    features = head.features(joined, batch.dropped("", joined.shape[-3]))
    sizes = [stream.shape[-3] for stream in streams]
    parts = (features, head.classify(features))
    return [Stream(*both) for both in zip(*(torch.split(part, sizes, dim=-2) for part in parts), strict=True)]


def source_and(term: Tensor, logits: Tensor, batch: Batch) -> Terms:
    """Label-smoothed cross-entropy of the source's logits, plus λ_align times a method's own term."""
    cls = classification_loss(logits, batch.labels, batch.numbers["label_smoothing"])
    return {"cls": cls, "align": term, "total": cls + batch.numbers["lambda_align"] * term}


def learns_features(head: Head) -> bool:
    """Whether a single head learns what its last layer sees: of a linear head that is its input, which stays."""
    weights = head.last_weights
    clip = torch.zeros(1, 1, head.in_dim, dtype=weights.dtype, device=weights.device)
    # Dropout is decided, as leaving it out, so that asking draws no random number.
    one = clip.new_ones(())
    with torch.enable_grad():
        return head.features(clip, (one, one)).requires_grad


def draw_layer(weight: nn.Parameter, bias: nn.Parameter, generator: torch.Generator) -> None:
    """Uniform in ±1/√inputs, as MlpHead begins. weight: [inputs, outputs], on the generator's device."""
    bound = 1.0 / math.sqrt(weight.shape[-2])
    for parameter in (weight, bias):
        nn.init.uniform_(parameter, -bound, bound, generator)


def layer_generator(seed: int, purpose: int) -> torch.Generator:
    """A CPU generator for weights: a seed gives the same ones on every device. purpose: a constant of the method's."""
    return torch.Generator().manual_seed((seed + purpose) % 2**63)

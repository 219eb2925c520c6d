"""Pseudo-labels of target videos, from the mean of both speeds' logits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PseudoLabels(NamedTuple):
    """label [B] int64, the likeliest class; confident [B] bool, its probability reaches the threshold."""

    label: Tensor
    confident: Tensor


def pseudo_labels(fast: Tensor, slow: Tensor, threshold: float | Tensor = 0.7) -> PseudoLabels:
    """The likeliest class of softmax((fast + slow) / 2), used where its probability ≥ threshold (CoMix, §3.3).

    fast, slow: [B, C] logits of the same videos at the two speeds, or [R, B, C] with R thresholds. No
    gradient flows through the labels.
    """
    probability, label = torch.softmax((fast.detach() + slow.detach()) / 2, dim=-1).max(dim=-1)
    return PseudoLabels(label, probability >= (threshold[..., None] if isinstance(threshold, Tensor) else threshold))

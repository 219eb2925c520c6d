"""Scores that choose a step without target labels."""

from __future__ import annotations

import torch
from torch import Tensor


def infomax(logits: Tensor) -> float:
    """Mutual information of input and prediction: H(mean p) − mean H(p), in nats (Bridle et al. 1991).

    logits: [V, C] of unlabelled target videos. High when predictions are sure one by one yet varied together;
    a head that calls everything one class scores 0. Between 0 and ln C.
    """
    log_p = torch.log_softmax(logits.double(), dim=1)
    mean = log_p.exp().mean(dim=0)
    marginal = -(mean * mean.clamp_min(1e-12).log()).sum()
    conditional = -(log_p.exp() * log_p).sum(dim=1).mean()
    return float(marginal - conditional)

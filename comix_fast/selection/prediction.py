"""Scores from the target's predictions alone: entropy, mutual information, nuclear norm."""

from __future__ import annotations

import torch
from torch import Tensor

from comix_fast.selection.evidence import exact


def negative_entropy(logits: Tensor) -> float:
    """Minus the mean entropy of the predictions, in nats (Morerio et al. 2018 choose by least entropy).

    logits: [V, C]. Between −ln C and 0. Sign flipped from the literature, where low entropy is good. Blind to collapse:
    a head that calls everything one class with certainty scores 0, the best there is.
    """
    log_p = torch.log_softmax(exact(logits), dim=1)
    return float((log_p.exp() * log_p).sum(dim=1).mean())


def infomax(logits: Tensor) -> float:
    """Mutual information of input and prediction: H(mean p) − mean H(p), in nats (Bridle et al. 1991).

    logits: [V, C] of unlabelled target videos. High when predictions are sure one by one yet varied together;
    a head that calls everything one class scores 0. Between 0 and ln C.
    """
    log_p = torch.log_softmax(exact(logits), dim=1)
    mean = log_p.exp().mean(dim=0)
    marginal = -(mean * mean.clamp_min(1e-12).log()).sum()
    conditional = -(log_p.exp() * log_p).sum(dim=1).mean()
    return float(marginal - conditional)


def nuclear_norm(logits: Tensor) -> float:
    """Sum of the singular values of the prediction matrix over V (Cui et al. 2020, "Towards Discriminability and
    Diversity: Batch Nuclear-norm Maximization", all videos one batch; to choose models, Musgrave et al. 2022).

    logits: [V, C]. Between 1 / √(V·C) (every prediction uniform) and √(min(V, C) / V) (sure, and equally many of every
    class); sure of one class for all, 1 / √V. Sign as published: the method maximises it.
    """
    probabilities = torch.softmax(exact(logits), dim=1)
    return float(torch.linalg.svdvals(probabilities).sum()) / len(probabilities)

"""Maximum classifier discrepancy (MCD): how much two classifiers disagree."""

from __future__ import annotations

import torch
from torch import Tensor

from comix_fast.errors import ShapeError


def classifier_discrepancy(one: Tensor, two: Tensor) -> Tensor:
    """Mean absolute difference of two classifiers' probabilities (Saito et al. 2018, MCD, "discrepancy loss").

    one, two: [..., B, C] float logits of the same videos (the paper's are of the target); axes in front are losses of
        their own. The mean is over classes, as in the paper, and over videos.
    Returns [...], from 0 to 2 / C. The classifiers ascend it, the features beneath them descend it.
    Raises ShapeError if the shapes differ or hold no video.
    """
    if one.shape != two.shape or one.ndim < 2 or not one.shape[-2]:
        raise ShapeError(f"one {list(one.shape)} and two {list(two.shape)} must be [..., B, C] alike, with B above 0")
    return (torch.softmax(one, dim=-1) - torch.softmax(two, dim=-1)).abs().mean(dim=(-2, -1))

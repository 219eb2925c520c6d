"""Domain-adversarial training (DANN): a gradient turned round, its schedule, and the domain classifier's loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from comix_fast.errors import ShapeError
from comix_fast.losses.contrastive import Number


def reverse_gradient(x: Tensor, weight: Number = 1.0) -> Tensor:
    """x itself on the way forward; on the way back its gradient times −weight (Ganin et al. 2016, sec. 4.2).

    x: features of any shape, of the layer whose domains should become indistinguishable.
    weight: a number, or [R] of them, one for each entry of x's first axis. No gradient flows into it.
    Returns x's values, in x's shape.
    Raises ShapeError if weight has an axis that is not x's first.
    """
    if isinstance(weight, Tensor) and weight.ndim:
        if weight.ndim > 1 or not x.ndim or len(weight) != len(x):
            raise ShapeError(
                f"weight must be a number or [R] for x {list(x.shape)}, R its first axis, not {list(weight.shape)}"
            )
        weight = weight.reshape(-1, *[1] * (x.ndim - 1))
    reversed_: Tensor = _Reverse.apply(x, weight)
    return reversed_


class _Reverse(torch.autograd.Function):
    """Identity forward, −weight times the gradient backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Number) -> Tensor:
        """x of any shape; weight broadcasts against it."""
        ctx.weight = weight.detach() if isinstance(weight, Tensor) else weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient of x, in its own dtype."""
        return (-ctx.weight * gradients[0]).to(gradients[0].dtype), None


def dann_schedule(progress: float) -> float:
    """The reversed gradient's weight, 2 / (1 + exp(−10 p)) − 1 (Ganin et al. 2016, sec. 5.2).

    progress: the share of training done, 0 to 1. Returns 0 at the start, 0.987 half-way, almost 1 at the end.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


def domain_loss(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Binary cross-entropy of a domain classifier, source 1 and target 0 (Ganin et al. 2016, the domain term L_d).

    source_logits: [..., B], target_logits: [..., B'] float, the log-odds that a video is of the source; axes in front
        are losses of their own. The mean is over each domain's videos, then over the two domains, so that both weigh
        the same whatever B and B'.
    Returns [...], 0 or more; ln 2 where the domains can't be told apart.
    Raises ShapeError if the axes in front differ or a domain has no video.
    """
    if not (source_logits.ndim and target_logits.ndim) or source_logits.shape[:-1] != target_logits.shape[:-1]:
        raise ShapeError(
            f"source_logits {list(source_logits.shape)} and target_logits {list(target_logits.shape)} "
            "must be [..., B] and differ in B at most"
        )
    if not (source_logits.shape[-1] and target_logits.shape[-1]):
        raise ShapeError(f"no video in source_logits {list(source_logits.shape)} or {list(target_logits.shape)}")
    # ln(1 − σ(z)) is ln σ(−z), which does not overflow. As softplus, the last numbers of a row may have other bits than
    # the same ones among more: PyTorch computes what fills no whole vector by another exponential.
    return -(F.logsigmoid(source_logits).mean(dim=-1) + F.logsigmoid(-target_logits).mean(dim=-1)) / 2

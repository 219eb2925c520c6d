"""AdaMatch's parts: interpolated logits, aligned pseudo-labels, a relative threshold and a warm-up.

All of Berthelot et al. 2022 (ICLR), AdaMatch; where the paper leaves a number open, their published code decides.
The target's loss over these parts is `pseudo_label_loss`, on the aligned probabilities' likeliest class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.losses.contrastive import Number

FLOOR = 1e-6
"""Added to both class means before their ratio is taken, so that an absent class cannot divide by zero."""


def interpolate_logits(together: Tensor, alone: Tensor, share: Tensor) -> Tensor:
    """Source logits between those of a joint batch and of a source batch (the paper's random logit interpolation).

    together: [..., B, C], from a pass in which the batch statistics are of both domains; alone: the same videos' from
        a pass of the source alone. Gradients flow through both.
    share: [..., B, C] in 0 to 1, that of `together`; the paper draws U(0, 1) for each number.
    Returns [..., B, C], share · together + (1 − share) · alone.
    Raises ShapeError if the three shapes differ.
    """
    if not together.shape == alone.shape == share.shape:
        raise ShapeError(
            f"together {list(together.shape)}, alone {list(alone.shape)} and share {list(share.shape)} "
            "must have one shape"
        )
    return torch.lerp(alone, together, share)


def align(target_probability: Tensor, source_mean: Tensor, target_mean: Tensor) -> Tensor:
    """Target probabilities, each class scaled by how much more often the source has it (distribution alignment).

    target_probability: [..., B, C]; each row sums to 1.
    source_mean, target_mean: [..., C], the mean predictions of the two domains: of the batch in the paper, running
        ones in its code. Axes in front may be missing where they are shared.
    Returns [..., B, C], each row scaled to sum to 1, without gradient: these are labels.
    Raises ShapeError if a mean does not match.
    """
    wanted = target_probability.shape[:-2] + target_probability.shape[-1:]
    for name, mean in (("source_mean", source_mean), ("target_mean", target_mean)):
        short = len(wanted) - mean.ndim
        if target_probability.ndim < 2 or not 0 <= short < len(wanted) or mean.shape != wanted[short:]:
            raise ShapeError(
                f"{name} must be [..., C] to match target_probability {list(target_probability.shape)} [..., B, C], "
                f"not {list(mean.shape)}"
            )
    ratio = (FLOOR + source_mean.detach()) / (FLOOR + target_mean.detach())
    aligned = target_probability.detach() * ratio[..., None, :]
    return aligned / aligned.sum(dim=-1, keepdim=True)


def relative_threshold(source_probability: Tensor, tau: Number = 0.9) -> Tensor:
    """The confidence a target video must reach: τ times the source's mean (the relative confidence threshold).

    source_probability: [..., B, C]; tau: 0 to 1, the paper's 0.9, or [R] for the first of the axes in front.
    Returns [...], without gradient, to be compared with the largest aligned probability of each target video.
    Raises ShapeError if there is no video or tau does not match.
    """
    if source_probability.ndim < 2 or not source_probability.shape[-2]:
        raise ShapeError(f"source_probability must be [..., B, C], B above 0, not {list(source_probability.shape)}")
    mean = source_probability.detach().amax(dim=-1).mean(dim=-1)
    if isinstance(tau, Tensor) and tau.ndim:
        if tau.ndim > 1 or not mean.ndim or len(tau) != len(mean):
            raise ShapeError(
                f"tau must be a number or [R] for source_probability {list(source_probability.shape)}, "
                f"R its first axis, not {list(tau.shape)}"
            )
        tau = tau.reshape(-1, *[1] * (mean.ndim - 1))
    return mean * tau


def ramp(progress: float) -> float:
    """The target loss's weight μ, 1/2 − cos(min(π, 2π p)) / 2 (the warm-up of AdaMatch's loss).

    progress: the share of training done, t / T, 0 to 1. Returns 0 at the start, 1 from half-way on.
    """
    return 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2

"""CORAL: how far the covariances of two domains' features lie apart."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from comix_fast.errors import ShapeError


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance of the two covariances, over 4 D² (Sun & Saenko 2016, Deep CORAL, eq. 1–3).

    source: [..., B, D], target: [..., B', D] float features; axes in front are losses of their own, and D, dtype and
        those axes are the same in both.
    Returns [...], 0 or more; it grows with the fourth power of the features' scale. Covariances are over B − 1 (the
    paper's); a single video has none, and counts as a covariance of zero.
    Raises ShapeError if the two shapes do not fit or a domain has no video.
    """
    check_domains(source, target)
    spread = torch.cat([_centred(source), _centred(target)], dim=-2)
    # With Z the rows of both domains and S their signs, the covariances differ by ZᵀSZ, whose squared norm is
    # tr(S·ZZᵀ·S·ZZᵀ): products of a few videos instead of D × D matrices, of which a batch has far too many.
    sign = spread.new_ones(spread.shape[-2])
    sign[source.shape[-2] :] = -1
    # Sums, not products with a vector: those are added up in another order for one loss than for several.
    squared = ((spread @ spread.mT).square() * (sign[:, None] * sign)).sum(dim=(-2, -1))
    # Rounding can leave equal covariances a hair below zero.
    return squared.clamp_min(0) / (4 * source.shape[-1] ** 2)


def check_domains(source: Tensor, target: Tensor) -> None:
    """Raise ShapeError unless features are [..., B, D] and [..., B', D] with at least one video each."""
    alike = source.ndim >= 2 and source.shape[:-2] == target.shape[:-2] and source.shape[-1] == target.shape[-1]
    if not alike or source.ndim != target.ndim:
        raise ShapeError(
            f"source {list(source.shape)} and target {list(target.shape)} must be [..., B, D] and differ in B at most"
        )
    if not (source.shape[-2] and target.shape[-2]):
        raise ShapeError(f"no video in source {list(source.shape)} or target {list(target.shape)}")


def _centred(features: Tensor) -> Tensor:
    """Rows whose inner products over D sum to the covariance."""
    return (features - features.mean(dim=-2, keepdim=True)) / sqrt(max(features.shape[-2] - 1, 1))

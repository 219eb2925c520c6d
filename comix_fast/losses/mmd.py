"""Maximum mean discrepancy: how far apart two domains' features lie in the space of Gaussian kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from comix_fast.losses.coral import check_domains


def mmd(source: Tensor, target: Tensor, multipliers: Sequence[float] = (0.25, 0.5, 1, 2, 4)) -> Tensor:
    """Squared MMD with the mean of several Gaussian kernels (Long et al. 2015, DAN, eq. 1–2).

    The biased estimate, a V-statistic with every video's kernel with itself (Gretton et al. 2012, eq. 5): unlike the
    unbiased one it is never negative, and above 0 on average even for equal distributions, more so in small batches.
    The kernels are exp(−|x − y|² / (m · b)), one for each multiplier m, weighed equally rather than by DAN's search;
    b is the mean squared distance of all pairs of two videos, of either domain (DAN takes a median), as a constant:
    no gradient flows through it, or the loss could fall by spreading the features.

    source: [..., B, D], target: [..., B', D] float features; axes in front are losses of their own, and D, dtype and
        those axes are the same in both.
    multipliers: of the bandwidth, each above 0, at least one.
    Returns [...], from 0 (also where all features are equal) to 2; the features' scale does not matter.
    Raises ShapeError if the two shapes do not fit or a domain has no video.
    """
    check_domains(source, target)
    distance = _squared_distances(torch.cat([source, target], dim=-2))
    n_videos = distance.shape[-1]
    bandwidth = distance.detach().sum(dim=(-2, -1), keepdim=True) / (n_videos * (n_videos - 1))
    # Where all videos are equal any bandwidth will do but zero.
    scaled = distance / torch.where(bandwidth > 0, bandwidth, 1.0)
    kernel = torch.stack([torch.exp(-scaled / multiplier) for multiplier in multipliers]).mean(dim=0)
    # The mean over source pairs and over target pairs, less twice that over mixed pairs.
    weight = kernel.new_full((n_videos,), 1 / source.shape[-2])
    weight[source.shape[-2] :] = -1 / target.shape[-2]
    # A sum, not products with a vector: those are added up in another order for one loss than for several.
    # Rounding can leave equal samples a hair below zero.
    return (kernel * (weight[:, None] * weight)).sum(dim=(-2, -1)).clamp_min(0)


def _squared_distances(features: Tensor) -> Tensor:
    """[..., N, D] -> [..., N, N], exactly 0 from a video to itself and between videos that all are equal."""
    # Seen from the first video, so that an offset common to all cannot drown the distances in rounding.
    seen = features - features[..., :1, :].detach()
    products = seen @ seen.mT
    squares = products.diagonal(dim1=-2, dim2=-1)
    return (squares[..., :, None] + squares[..., None, :] - 2 * products).clamp_min(0)

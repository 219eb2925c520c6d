"""Transfer Score: an even classifier, clustered features, sure and varied predictions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from comix_fast.selection.evidence import exact, generator, thinned
from comix_fast.selection.prediction import infomax

MOST_PROBES = 500
"""Points the Hopkins statistic compares: all videos of a short list, a seeded draw of a longer one."""


def transfer_score(logits: Tensor, features: Tensor, classifier: Tensor | None) -> float | None:
    """−U + H + |M| / ln C (Yang et al. 2024, "Can We Evaluate Domain Adaptation Models Without Target-Domain Labels?",
    eq. 5): classifier bias, Hopkins statistic and mutual information.

    logits: [V, C]; features: [V, D]; classifier: [C, D], the last layer's weights. None without a classifier, and for
    fewer than two videos or classes. Higher is better, as published; at most 2.
    """
    if classifier is None or min(logits.shape) < 2:
        return None
    knowledge = abs(infomax(exact(logits))) / math.log(logits.shape[1])
    return -classifier_bias(classifier) + hopkins(features) + knowledge


def classifier_bias(classifier: Tensor) -> float:
    """Mean squared gap, in rad², of the angles between class vectors to the ideal arccos(−1 / (C − 1)) (eqs. 1 and 2,
    where it is called uniformity; low is even).

    classifier: [C, D], C ≥ 2. A class of zeros is at a right angle to all. The ideal is reached only if C ≤ D + 1.
    """
    classes = len(classifier)
    unit = functional.normalize(exact(classifier), dim=1)
    angles = (unit @ unit.T).clamp(-1, 1).acos()
    gaps = (angles - math.acos(-1 / (classes - 1))).square().fill_diagonal_(0)
    return float(gaps.sum()) / (classes * (classes - 1))


def hopkins(features: Tensor) -> float:
    """Hopkins statistic: Σ u / (Σ u + Σ w), clustered near 1, spread evenly near ½ (Banerjee and Dave 2004; eq. 3).

    features: [V, D], V ≥ 2. w: from a video to its nearest other; u: from a point drawn evenly in the box around all
    videos to its nearest video; as many of either. Neighbours are sought among all videos, and distances are not raised
    to the power D, as in the published code (at D = 256 the power leaves one distance to decide). There 5 % of the
    videos are probed; that is 3 of 60, so here all are, up to MOST_PROBES. Videos all alike have no clusters: 0.
    """
    rows = exact(features)
    probed = thinned(len(rows), MOST_PROBES)
    low, high = rows.amin(dim=0), rows.amax(dim=0)
    drawn = torch.rand(len(probed), rows.shape[1], generator=generator(), dtype=torch.float64)
    w = float(_to_nearest(rows[probed], rows, itself=probed).sum())
    u = float(_to_nearest(low + drawn * (high - low), rows).sum())
    return u / (u + w) if u + w > 0 else 0.0


def _to_nearest(points: Tensor, rows: Tensor, itself: Tensor | None = None) -> Tensor:
    """[P] Euclidean distances from points [P, D] to the nearest of rows [V, D].

    itself: [P] int64, the row that each point is, left out. None: all rows count.
    The nearest is found by one matrix product, which puts equal rows some 1e-8 apart; its distance is then measured
    term by term, so that equal rows are at 0.
    """
    centre = rows.mean(dim=0)
    moved = rows - centre
    apart = torch.addmm(moved.square().sum(dim=1), points - centre, moved.T, alpha=-2)
    if itself is not None:
        apart[torch.arange(len(points)), itself] = torch.inf
    return (points - rows[apart.argmin(dim=1)]).square().sum(dim=1).sqrt()

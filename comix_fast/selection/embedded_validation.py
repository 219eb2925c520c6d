"""DEV: the source's held-out error, weighted towards the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from comix_fast.selection.evidence import SEED, Evidence, exact

Numbers = NDArray[np.float64]

STRENGTHS = (1.0, 0.1, 0.01)
"""L2 penalties of the domain classifier, strongest first; the held-out fifth of the videos chooses."""
FOLD = 5
LARGEST_LOG_RATIO = 30.0
NEWTON_STEPS = 30
CLOSE = 1e-8
"""The last Newton step's promised descent; taken from there it lands within about its square."""


def deep_embedded_validation(evidence: Evidence) -> float | None:
    """Minus the DEV risk: the importance-weighted 0/1 error on held-out source videos, with its control variate (You et
    al. 2019, "Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation"; as in its published code).

    w(x) = (source videos / target videos) · p(target | x) / p(source | x), from a domain classifier on features;
    risk = mean(wℓ) + η·mean(w) − η with η = −cov(wℓ, w) / var(w), both with divisor n − 1; η = 0 where all weights are
    equal. ℓ is 1 for a wrong class, as in the published code: bounded, so no mistake can outweigh the list, and
    blind to how sure a head is, which differs by step. Sign flipped: the literature minimises the risk. No fixed range:
    the control variate can take the risk below 0 or above 1. None without source videos of both kinds, trained on and
    held out.

    The domain classifier is a logistic regression on standardised features in place of the published three-layer
    network: it is convex, so it needs no seed, and takes milliseconds. Its penalty is chosen, as there, on a fifth held
    out (seeded, by place in the list).
    """
    held_out, trained = evidence.held_out, evidence.source
    if held_out is None or trained is None:
        return None
    wrong = (held_out.logits.argmax(dim=1).cpu() != held_out.labels.cpu()).numpy().astype(np.float64)
    source, target, asked = (exact(rows).numpy() for rows in (trained.features, evidence.features, held_out.features))
    return -weighted_risk(density_ratio(source, target, asked), wrong)


def weighted_risk(weights: Numbers, losses: Numbers) -> float:
    """The risk with its control variate. weights: [n], 0 or more; losses: [n]. With one video, the plain mean of wℓ."""
    weighted = weights * losses
    risk = float(weighted.mean())
    variance = float(weights.var(ddof=1)) if len(weights) > 1 else 0.0
    # Below this the weights differ by rounding only, and η would be rounding over rounding.
    if variance <= 1e-18 * float(weights.mean()) ** 2 or variance == 0:
        return risk
    eta = -float(np.cov(weighted, weights)[0, 1]) / variance
    return risk + eta * float(weights.mean()) - eta


def density_ratio(source: Numbers, target: Numbers, asked: Numbers) -> Numbers:
    """[n]: how much likelier each asked row is in the target than in the source.

    source [S, D], target [T, D], asked [n, D]. All are standardised by the mean and deviation of source and target
    together. The log of the ratio is kept within ±30, so that it stays a number.
    """
    rows = np.concatenate([source, target])
    sides = np.concatenate([np.full(len(source), -1.0), np.full(len(target), 1.0)])
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    # A constant column's deviation may be rounding instead of 0; divided by that, rounding would become a feature.
    scale = np.where(scale > 1e-12 * (1 + np.abs(centre)), scale, np.inf)
    rows, asked = (rows - centre) / scale, (asked - centre) / scale
    if len(rows) < rows.shape[1]:
        # The best weights lie in the span of the rows: with few rows, turn to as many coordinates as there are rows.
        turn, inner = np.linalg.qr(rows.T)
        rows, asked = inner.T, asked @ turn
    theta = _domain_classifier(_with_bias(rows), sides)
    log_ratio = np.log(len(source) / len(target)) + _with_bias(asked) @ theta
    ratio: Numbers = np.exp(np.clip(log_ratio, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    return ratio


def _with_bias(rows: Numbers) -> Numbers:
    return np.column_stack([rows, np.ones(len(rows))])


def _domain_classifier(design: Numbers, sides: Numbers) -> Numbers:
    """Weights and bias [D + 1], fitted to all with the penalty that a held-out fifth of either domain likes best.

    The published choice is by accuracy; the ratio is made of probabilities, and likelihood judges those. Domains too
    small to hold any out get the strongest penalty.
    """
    draws = np.random.default_rng(SEED)
    kept_out = np.zeros(len(sides), dtype=bool)
    domains = [np.flatnonzero(sides == side) for side in (-1.0, 1.0)]
    for members in domains:
        kept_out[draws.permutation(members)[: len(members) // FOLD]] = True
    theta = np.zeros(design.shape[1])
    if min(map(len, domains)) < FOLD:
        return _fit(design, sides, STRENGTHS[0], theta)
    fits, losses = [], []
    for strength in STRENGTHS:
        theta = _fit(design[~kept_out], sides[~kept_out], strength, theta)
        fits.append(theta)
        losses.append(np.logaddexp(0, -sides[kept_out] * (design[kept_out] @ theta)).mean())
    best = int(np.argmin(losses))
    return _fit(design, sides, STRENGTHS[best], fits[best])


def _fit(design: Numbers, sides: Numbers, strength: float, theta: Numbers) -> Numbers:
    """The minimiser of mean log(1 + e^(−side·f)) + strength / 2 · |weights|², by Newton's method from theta.

    design: [N, D + 1], the last column, of ones, for the bias; sides: [N] of −1 and 1. A step is halved while it does
    not descend.
    """
    # The bias is all but free: a trace of penalty keeps the system solvable when every prediction is certain.
    penalty = np.append(np.full(design.shape[1] - 1, strength), 1e-9)
    diagonal = np.arange(len(theta))

    def objective(at: Numbers) -> float:
        return float(np.logaddexp(0, -sides * (design @ at)).mean() + 0.5 * (penalty * at * at).sum())

    current = objective(theta)
    for _ in range(NEWTON_STEPS):
        doubt = np.exp(-np.logaddexp(0, sides * (design @ theta)))
        gradient = penalty * theta - design.T @ (sides * doubt) / len(sides)
        hessian = design.T @ (design * (doubt * (1 - doubt) / len(sides))[:, None])
        hessian[diagonal, diagonal] += penalty
        step = np.linalg.solve(hessian, gradient)
        descent = float(gradient @ step)
        size = 1.0
        while (moved := objective(theta - size * step)) > current - 1e-4 * size * descent and size > 1e-6:
            size /= 2
        theta, current = theta - size * step, moved
        if descent < CLOSE:
            break
    return theta

"""Scores from the target's neighbours: are alike videos predicted alike?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from comix_fast.selection.evidence import exact, thinned

MOST_VIDEOS = 4000
"""Both scores are quadratic in videos; of longer lists a seeded draw of this many stands for the list."""


def soft_neighbourhood_density(logits: Tensor, temperature: float = 0.05) -> float | None:
    """Mean entropy, in nats, of each video's distribution over its neighbours (Saito et al. 2021, "Tune it the Right
    Way"; its eq. 2 is the softmax with its temperature).

    logits: [V, C]. Similarity is the dot product of the L2-normalised softmax outputs, over the temperature; the
    softmax of a row, itself left out, is the video's distribution over the others. Between 0 and ln(V − 1), high
    where videos lie in dense groups; None for one video. Sign as published. Blind to collapse: a head that gives every
    video the same prediction scores ln(V − 1), the best there is. (The published code puts −1 / temperature on the
    diagonal, which leaves it a weight of at most 2e-9 of another's.)
    """
    if len(logits) < 2:
        return None
    probabilities = torch.softmax(exact(logits)[thinned(len(logits), MOST_VIDEOS)], dim=1)
    similar = _cosines(probabilities).div_(temperature).fill_diagonal_(-torch.inf)
    log_p = torch.log_softmax(similar, dim=1)
    # On the diagonal the log is −inf and its share 0: set to 0, their product is the limit, 0.
    return float(-(log_p.exp() * log_p.fill_diagonal_(0)).sum(dim=1).mean())


def neighbour_agreement(logits: Tensor, features: Tensor, k: int = 5) -> float | None:
    """Share of videos whose predicted class is that of most of their nearest neighbours (the k-nearest-neighbour rule
    of Cover and Hart 1967, on predictions in place of labels).

    logits: [V, C]; features: [V, D], compared by cosine. Neighbours: min(k, V − 1), the video itself left out; on equal
    votes the class with the nearest neighbour wins. Between 0 and 1; None for one video. Blind to collapse: a head that
    calls everything one class scores 1.
    """
    if len(logits) < 2:
        return None
    kept = thinned(len(logits), MOST_VIDEOS)
    classes = logits.detach().cpu().argmax(dim=1)[kept]
    similar = _cosines(exact(features)[kept]).fill_diagonal_(-torch.inf)
    nearest = similar.topk(min(k, len(kept) - 1), dim=1).indices
    # One vote each, and a fraction that halves with rank: never worth a vote, and on equal votes the nearest decides.
    votes = 1 + 0.5 ** torch.arange(2, nearest.shape[1] + 2, dtype=torch.float64)
    tally = torch.zeros(len(kept), logits.shape[1], dtype=torch.float64)
    tally.scatter_add_(1, classes[nearest], votes.expand(nearest.shape))
    return float((tally.argmax(dim=1) == classes).double().mean())


def _cosines(rows: Tensor) -> Tensor:
    """[V, D] -> [V, V]; a row of zeros is at 0 from every other."""
    unit = functional.normalize(rows, dim=1)
    return unit @ unit.T

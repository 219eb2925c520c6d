"""MixVal: does the model keep its own labels between its own videos?"""

from __future__ import annotations

import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.selection.evidence import Mixed, generator, thinned

SHARE = 0.55
"""Of the first video in a mix, as published: just past half, where the mix is hardest."""
MOST_VIDEOS = 1000
"""Videos that are probed; each costs two passes of the head. Partners come from the whole list."""


def mixval(logits: Tensor, mixed: Mixed | None, share: float = SHARE) -> float | None:
    """Interpolation consistency on mixed target videos (Hu et al. 2023, "Mixed Samples as Probes for Unsupervised Model
    Selection in Domain Adaptation"; the share, and hard labels, as in its published code).

    logits: [V, C]; their argmax is a video's pseudo-label. mixed: the model on mixed inputs, called once; None: no
    score. Each video is mixed, as the larger share, with one of its own cluster (another video of its pseudo-label) and
    with one of another cluster; consistent is a mix that the model calls what it calls the first video. The score is
    the mean of two shares, within clusters and between them: between 0 and 1, sign as published. (The published code
    prints one score per kind, to be combined over all candidates; the mean needs no other model.) A kind without any
    pair counts 0: a head that calls everything one class has no boundary to probe and must not win by it. Pairs are
    seeded, by place in the list.
    Raises ShapeError if `mixed` does not return [M, C].
    """
    if mixed is None:
        return None
    labels = logits.detach().cpu().argmax(dim=1)
    within, between = _pairs(labels)
    first, second = (torch.cat(side) for side in zip(within, between, strict=True))
    if not len(first):
        return 0.0
    called = mixed(first, second, share).detach().cpu()
    if tuple(called.shape) != (len(first), logits.shape[1]):
        raise ShapeError(f"mixed logits must be {[len(first), logits.shape[1]]}, not {list(called.shape)}")
    kept = (called.argmax(dim=1) == labels[first]).double()
    kinds = kept[: len(within[0])], kept[len(within[0]) :]
    return sum(float(kind.mean()) for kind in kinds if len(kind)) / 2


def _pairs(labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(first, second) within clusters, and between them; every other video of the kind is equally likely as second.

    Videos are laid out cluster by cluster in a ring. A cluster's other members, and its outsiders, are each one
    stretch of it, so a partner is a uniform draw from a stretch.
    """
    ring = labels.argsort(stable=True)
    place = ring.argsort()
    sizes = torch.bincount(labels)
    start, size = (sizes.cumsum(0) - sizes)[labels], sizes[labels]
    odds = torch.rand(2, len(labels), generator=generator(), dtype=torch.float64)
    ahead = 1 + (odds[0] * (size - 1)).long()
    inside = start + (place - start + ahead) % size
    outside = (start + size + (odds[1] * (len(labels) - size)).long()) % len(labels)
    probed = thinned(len(labels), MOST_VIDEOS)
    own, others = probed[size[probed] > 1], probed[size[probed] < len(labels)]
    return (own, ring[inside[own]]), (others, ring[outside[others]])

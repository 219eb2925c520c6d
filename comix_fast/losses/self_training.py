"""Self-training: cross-entropy on labels that the network, or its teacher, gave itself."""

from __future__ import annotations

import torch
from torch import Tensor

from comix_fast.errors import ShapeError


def pseudo_label_loss(logits: Tensor, pseudo: Tensor, keep: Tensor) -> Tensor:
    """Cross-entropy on the pseudo-labels kept, over all videos (FixMatch: Sohn et al. 2020, eq. 4).

    The mean is over all B, those left out counting 0: few sure videos make a small loss, not a steep one.

    logits: [..., B, C] float, what is trained; axes in front are losses of their own.
    pseudo: [..., B] int64 classes, or [..., B, C] float probabilities (soft labels). No gradient flows through them.
    keep: [..., B] bool, the videos used. Both it and pseudo may lack the axes in front if all share them.
    Returns [...], 0 or more, 0 where nothing is kept.
    Raises ShapeError if pseudo or keep do not match logits or there is no video.
    """
    if logits.ndim < 2 or not logits.shape[-2]:
        raise ShapeError(f"logits must be [..., B, C] with B above 0, not {list(logits.shape)}")
    videos = logits.shape[:-1]
    soft = pseudo.is_floating_point()
    _check("pseudo", pseudo, logits.shape if soft else videos, 2 if soft else 1)
    _check("keep", keep, videos, 1)
    log_p = torch.log_softmax(logits, dim=-1)
    if soft:
        entropy = -(pseudo.detach() * log_p).sum(dim=-1)
    else:
        entropy = -log_p.gather(-1, pseudo.expand(videos)[..., None]).squeeze(-1)
    return torch.where(keep, entropy, 0.0).mean(dim=-1)


def _check(name: str, given: Tensor, wanted: torch.Size, least: int) -> None:
    """Raise ShapeError unless given has wanted's last axes, at least that many of them."""
    if given.ndim < least or given.ndim > len(wanted) or given.shape != wanted[len(wanted) - given.ndim :]:
        raise ShapeError(f"{name} must be {list(wanted)} to match logits, not {list(given.shape)}")

"""The supervised contrastive loss, on vectors as they are given."""

from __future__ import annotations

import torch
from torch import Tensor

from comix_fast.errors import ShapeError


def supervised_contrastive(
    views: Tensor,
    labels: Tensor | None = None,
    temperature: float = 0.5,
    base_temperature: float = 0.07,
    *,
    keep: Tensor | None = None,
) -> Tensor:
    """Supervised contrastive loss, every view an anchor (Khosla et al. 2020, eq. 2).

    views: [B, V, D] float, used as given: CoMix contrasts class probabilities, not unit vectors.
    labels: [B] int; equal labels are positives. None: only views of the same item are.
    keep: [B] bool; items left out are neither anchors nor compared against, as if they were not in `views`
        (shapes stay fixed, so nothing waits for the device). None: all.
    Returns a scalar, the mean over anchors with a positive times temperature / base_temperature (published
    code); 0 where there is no such anchor.
    Raises ShapeError if views is not 3-D or labels or keep do not match B.
    """
    if views.ndim != 3:
        raise ShapeError(f"views must be [B, V, D], not {list(views.shape)}")
    n_items, n_views, _ = views.shape
    for name, given in (("labels", labels), ("keep", keep)):
        if given is not None and given.shape != (n_items,):
            raise ShapeError(f"{name} must be [{n_items}] to match views {list(views.shape)}, not {list(given.shape)}")
    items = torch.arange(n_items, device=views.device)
    groups = (items if labels is None else labels).repeat(n_views)
    kept = (torch.ones_like(items, dtype=torch.bool) if keep is None else keep).repeat(n_views)

    anchors = views.transpose(0, 1).flatten(0, 1)
    compared = kept[None, :] & ~torch.eye(len(anchors), dtype=torch.bool, device=views.device)
    positive = compared & (groups[:, None] == groups[None, :])

    similarity = anchors @ anchors.T / temperature
    # The largest compared value is taken off every row: a shift that cancels, so that exp cannot overflow.
    shift = similarity.detach().masked_fill(~compared, -torch.inf).amax(dim=1, keepdim=True)
    similarity = similarity - torch.nan_to_num(shift, neginf=0.0)
    total = torch.where(compared, similarity, -torch.inf).exp().sum(dim=1, keepdim=True)
    log_probability = similarity - total.clamp_min(torch.finfo(total.dtype).tiny).log()

    n_positive = positive.sum(dim=1)
    per_anchor = torch.where(positive, log_probability, 0.0).sum(dim=1) / n_positive.clamp_min(1)
    counted = kept & (n_positive > 0)
    mean = torch.where(counted, per_anchor, 0.0).sum() / counted.sum().clamp_min(1)
    return -(temperature / base_temperature) * mean

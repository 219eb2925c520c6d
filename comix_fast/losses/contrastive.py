"""The supervised contrastive loss, on vectors as they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from comix_fast.errors import ShapeError

Number = float | Tensor
"""One number, or [R] of them: one for each of R heads trained side by side."""


def supervised_contrastive(
    views: Tensor,
    labels: Tensor | None = None,
    temperature: Number = 0.5,
    base_temperature: float = 0.07,
    *,
    keep: Tensor | None = None,
) -> Tensor:
    """Supervised contrastive loss, every view an anchor (Khosla et al. 2020, eq. 2).

    views: [B, V, D] float, used as given: CoMix contrasts class probabilities, not unit vectors. Axes in front of
        these, [..., B, V, D], are losses of their own; labels, keep and temperature may then have them too.
    labels: [B] int; equal labels are positives. None: only views of the same item are.
    keep: [B] bool; items left out are neither anchors nor compared against, as if they were not in `views`
        (shapes stay fixed, so nothing waits for the device). None: all.
    Returns a scalar ([...]), the mean over anchors with a positive times temperature / base_temperature (published
    code); 0 where there is no such anchor.
    Raises ShapeError if views has fewer than three axes or labels or keep do not match B.
    """
    if views.ndim < 3:
        raise ShapeError(f"views must be [B, V, D], not {list(views.shape)}")
    *_, n_items, n_views, _ = views.shape
    for name, given in (("labels", labels), ("keep", keep)):
        if given is not None and (given.ndim == 0 or given.shape[-1] != n_items or given.ndim > views.ndim - 2):
            raise ShapeError(f"{name} must be [{n_items}] to match views {list(views.shape)}, not {list(given.shape)}")
    items = torch.arange(n_items, device=views.device)
    groups = _per_view(items if labels is None else labels, n_views)
    kept = _per_view(torch.ones_like(items, dtype=torch.bool) if keep is None else keep, n_views)

    itself = torch.eye(n_items * n_views, dtype=torch.bool, device=views.device)
    compared = kept[..., None, :] & ~itself
    positive = compared & (groups[..., :, None] == groups[..., None, :])
    anchors = views.transpose(-3, -2).flatten(-3, -2)
    mean: Tensor = _Contrast.apply(anchors, compared, positive, kept, temperature)
    return mean * (temperature / base_temperature)


class _Contrast(torch.autograd.Function):
    """The mean over anchors of minus the log-probability of their positives; differentiable once.

    Its gradient is short when written out (softmax minus the positives' shares), and autograd's is not: two of these
    losses were half of the small operations of a training step.
    """

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, compared: Tensor, positive: Tensor, kept: Tensor, temperature: Number
    ) -> Tensor:
        """anchors [..., A, D]; compared, positive [..., A, A] bool; kept [..., A] bool -> [...]."""
        over_pairs = temperature[..., None, None] if isinstance(temperature, Tensor) else temperature
        similarity = (anchors @ anchors.mT / over_pairs).masked_fill_(~compared, -torch.inf)
        # The largest compared value is taken off every row: a shift that cancels, so that exp cannot overflow.
        similarity -= torch.nan_to_num(similarity.amax(dim=-1, keepdim=True), neginf=0.0)
        powers = similarity.exp()
        total = powers.sum(dim=-1, keepdim=True).clamp_min_(torch.finfo(powers.dtype).tiny)
        n_positive = positive.sum(dim=-1)
        counted = kept & (n_positive > 0)
        # What each pair counts for: an anchor's positives share its weight, the counted anchors share the mean.
        weight = counted.to(anchors.dtype) / (n_positive.clamp_min(1) * counted.sum(dim=-1, keepdim=True).clamp_min(1))
        shares = torch.where(positive, weight[..., None], 0.0)
        if ctx.needs_input_grad[0]:
            slope = powers * (shares.sum(dim=-1, keepdim=True) / total) - shares
            ctx.save_for_backward((slope + slope.mT) @ anchors / over_pairs)
        log_probability = torch.where(positive, similarity - total.log(), 0.0)
        return -(shares * log_probability).sum(dim=(-2, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the anchors."""
        (of_anchors,) = ctx.saved_tensors
        return gradients[0][..., None, None] * of_anchors, None, None, None, None


def _per_view(items: Tensor, n_views: int) -> Tensor:
    """[..., B] -> [..., V · B]: what holds of an item holds of each of its views."""
    return items.repeat(*([1] * (items.ndim - 1)), n_views)

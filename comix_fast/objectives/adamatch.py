"""AdaMatch: pseudo-labels kept to the source's class shares and to the source's own confidence."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from comix_fast.heads import Head
from comix_fast.losses.adamatch import align, interpolate_logits, ramp, relative_threshold
from comix_fast.losses.self_training import pseudo_label_loss
from comix_fast.objectives.both_domains import one_pass, source_and
from comix_fast.objectives.objective import Batch, Objective, Terms

MOMENTUM = 0.99
"""Of the running class means, which so look back a hundred iterations. The authors' code has 0.999 for the source and
the last 128 batches for the target, in runs of a hundred thousand and more; ours may have five hundred."""
TAU = 0.9
"""A target video's label must be this share of the source's mean confidence, at least (the paper's τ)."""


class AdaMatch(Objective):
    """Cross-entropy of the source + λ_align · μ · that of the target's aligned, confident pseudo-labels.

    Berthelot et al. 2022, sec. 3; its parts are in losses/adamatch.py. The weak view is the plain clips, the strong one
    the clips over a background of the other domain, or where there are none the plain clips again with dropout of their
    own. What deviates:
    - their strong view of the source is taught too; every method here learns the source from its plain clips;
    - their passes of the source, with the target and alone, differ in batch statistics. These heads have none, so what
      is interpolated are two draws of dropout: nothing at all for a linear head;
    - running class means begin with the source's class shares and the warm-started head's view of the target (theirs:
      uniform), and a batch enters them after its own step, so that an iteration follows from weights and buffers alone.

    source_mean, target_mean: [C], mean class probabilities of the two domains; n_heads in front of several.
    Terms: confident is the share of target videos that have a label; align has μ in it.
    """

    source_mean: Tensor
    target_mean: Tensor

    def __init__(self, source_mean: Tensor, target_mean: Tensor, n_heads: int | None = None) -> None:
        super().__init__(n_heads)
        self.register_buffer("source_mean", source_mean.clone())
        self.register_buffer("target_mean", target_mean.clone())
        self._seen: tuple[Tensor, Tensor] | None = None

    def alike(self, n_heads: int | None) -> Self:
        n_classes = self.source_mean.shape[-1]
        means = torch.empty(n_classes if n_heads is None else (n_heads, n_classes))
        return type(self)(means, means, n_heads)

    def forward(self, head: Head, batch: Batch) -> Terms:
        plain, target = batch.both
        harder = target if batch.target_mixed is None else batch.target_mixed
        together, weak, strong = (stream.logits for stream in one_pass(head, batch, plain, target, harder))
        alone = head(plain, batch.dropped("alone", plain.shape[-3]))
        share = batch.uniform("interpolation", alone.shape[-2:])
        source = interpolate_logits(together, alone, share)

        of_source, of_target = (torch.softmax(logits.detach(), dim=-1) for logits in (source, weak))
        probability, label = align(of_target, self.source_mean, self.target_mean).max(dim=-1)
        confident = probability >= relative_threshold(of_source, TAU)[..., None]
        self._seen = of_source.mean(dim=-2), of_target.mean(dim=-2)
        terms = source_and(pseudo_label_loss(strong, label, confident) * ramp(batch.progress), source, batch)
        return {"confident": confident.to(source.dtype).mean(dim=-1), **terms}

    @torch.no_grad()
    def after_step(self, head: Head, batch: Batch) -> None:
        """The batch's mean predictions enter the running ones."""
        if self._seen is not None:
            for mean, seen in zip((self.source_mean, self.target_mean), self._seen, strict=True):
                mean.lerp_(seen, 1 - MOMENTUM)

"""Self-training: what the head is sure of on plain target clips, it is taught on a harder view of them."""

from __future__ import annotations

from typing import Self

from comix_fast.heads import Head
from comix_fast.losses import pseudo_labels
from comix_fast.losses.self_training import pseudo_label_loss
from comix_fast.objectives.both_domains import one_pass, source_and
from comix_fast.objectives.objective import Batch, Objective, Terms


class SelfTraining(Objective):
    """Cross-entropy of the source + λ_align · that of the target's confident pseudo-labels.

    After FixMatch (Sohn et al. 2020, eq. 3 and 4). The weak view is the plain clips, the strong one the same clips over
    a background of the other domain, or where there are none the plain clips again with dropout of their own; the
    paper's are of images. No gradient flows through the labels. The source's loss is label-smoothed, which theirs is
    not; the threshold is the recipe's, and inclusive as in the paper. confident: the share of target videos labelled.
    """

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(n_heads)

    def forward(self, head: Head, batch: Batch) -> Terms:
        plain, target = batch.both
        harder = target if batch.target_mixed is None else batch.target_mixed
        source, weak, strong = (stream.logits for stream in one_pass(head, batch, plain, target, harder))
        label, confident = pseudo_labels(weak, weak, batch.numbers["pseudo_threshold"])
        terms = source_and(pseudo_label_loss(strong, label, confident), source, batch)
        return {"confident": confident.to(source.dtype).mean(dim=-1), **terms}

"""MCD: two classifiers disagree on the target where they can, and the features move to where they agree."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from comix_fast.errors import ComixError
from comix_fast.heads import Head
from comix_fast.losses import classification_loss
from comix_fast.losses.adversarial import reverse_gradient
from comix_fast.losses.discrepancy import classifier_discrepancy
from comix_fast.objectives.both_domains import draw_layer, layer_generator, learns_features
from comix_fast.objectives.objective import Batch, Objective, Terms

_PURPOSE = 0x3CD


class Mcd(Objective):
    """Cross-entropy of the source by both classifiers − λ_align · their discrepancy on the target (Saito et al. 2018).

    They alternate three steps (sec. 3.3): both classifiers learn the source; the classifiers alone ascend the
    discrepancy, the source's loss beside it; the features alone descend it, several times over. Here these are one:
    the target's features pass through a reversed gradient, so that what raises the discrepancy above them lowers it
    beneath, as in the first author's minimax entropy (Saito et al. 2019). One classifier is the head's own last layer,
    already trained, and the one that predicts; the other begins afresh where the authors begin both.

    Terms: cls, the head's own loss; second, the other classifier's; align, minus the discrepancy.
    weight: [F, C], bias: [C], the second classifier; with n_heads in front where there are several. Their values are
    not set: see `drawn`.
    """

    def __init__(self, n_features: int, n_classes: int, n_heads: int | None = None) -> None:
        super().__init__(n_heads)
        self._sizes = n_features, n_classes
        lead = () if n_heads is None else (n_heads,)
        self.weight = nn.Parameter(torch.empty(*lead, n_features, n_classes))
        self.bias = nn.Parameter(torch.empty(*lead, n_classes))

    @classmethod
    def drawn(cls, head: Head, seed: int) -> Self:
        """With a second classifier for a single head, on its device; the seed alone decides its weights.

        Raises ComixError on a linear head: no feature could move, and its classifiers would only be torn apart.
        """
        if not learns_features(head):
            raise ComixError(
                f"mcd moves the features on which two classifiers disagree, and a {head.title} learns no features",
                hint="choose --head mlp or --head graph for it",
            )
        mcd = cls(head.last_weights.shape[-1], head.n_classes)
        draw_layer(mcd.weight, mcd.bias, layer_generator(seed, _PURPOSE))
        return mcd.to(head.device)

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(*self._sizes, n_heads)

    def forward(self, head: Head, batch: Batch) -> Terms:
        joined = torch.cat(batch.both, dim=-3)
        n_source = batch.source.shape[-3]
        features = head.features(joined, batch.dropped("", joined.shape[-3]))
        below = torch.cat([features[..., :n_source, :], reverse_gradient(features[..., n_source:, :])], dim=-2)
        both = (head.classify(below), below @ self.weight + self.bias[..., None, :])
        smoothing = batch.numbers["label_smoothing"]
        cls, second = (classification_loss(logits[..., :n_source, :], batch.labels, smoothing) for logits in both)
        term = -classifier_discrepancy(*(logits[..., n_source:, :] for logits in both))
        total = cls + second + batch.numbers["lambda_align"] * term
        return {"cls": cls, "second": second, "align": term, "total": total}

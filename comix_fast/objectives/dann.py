"""DANN: a domain classifier learns to tell source from target, and the features learn to leave it guessing."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comix_fast.heads import Head
from comix_fast.losses.adversarial import dann_schedule, domain_loss, reverse_gradient
from comix_fast.objectives.both_domains import draw_layer, layer_generator, learns_features, one_pass, source_and
from comix_fast.objectives.objective import Batch, Objective, Terms

HIDDEN = 256
"""Width of the domain classifier's hidden layer."""
_PURPOSE = 0xDA22


class Dann(Objective):
    """Cross-entropy of the source + λ_align · domain loss behind a reversed gradient (Ganin et al. 2016, sec. 4.2).

    The reversed gradient's weight grows with the share of iterations done (sec. 5.2); the domain classifier itself
    learns at λ_align from the start. It is fed what the last layer sees, or the logits of a linear head, whose features
    no parameter moves. align is ln 2 where it cannot tell the domains apart.

    width: what the classifier is fed, numbers per video; of_features: whether these are features. first, last:
    weights [width, hidden] and [hidden, 1] with biases; with n_heads in front where there are several. Their values are
    not set: see `drawn`.
    """

    def __init__(self, width: int, of_features: bool, hidden: int = HIDDEN, n_heads: int | None = None) -> None:
        super().__init__(n_heads)
        self._width, self._of_features, self._hidden = width, of_features, hidden
        lead = () if n_heads is None else (n_heads,)
        self.first = nn.Parameter(torch.empty(*lead, width, hidden))
        self.first_bias = nn.Parameter(torch.empty(*lead, hidden))
        self.last = nn.Parameter(torch.empty(*lead, hidden, 1))
        self.last_bias = nn.Parameter(torch.empty(*lead, 1))

    @classmethod
    def drawn(cls, head: Head, seed: int, hidden: int = HIDDEN) -> Self:
        """With a domain classifier that fits a single head, on its device; the seed alone decides its weights."""
        of_features = learns_features(head)
        dann = cls(head.last_weights.shape[-1] if of_features else head.n_classes, of_features, hidden)
        generator = layer_generator(seed, _PURPOSE)
        draw_layer(dann.first, dann.first_bias, generator)
        draw_layer(dann.last, dann.last_bias, generator)
        return dann.to(head.device)

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(self._width, self._of_features, self._hidden, n_heads)

    @property
    def kind(self) -> object:
        return type(self), self._of_features

    def forward(self, head: Head, batch: Batch) -> Terms:
        source, target = one_pass(head, batch, *batch.both)
        fed = [stream.aligned(self._of_features) for stream in (source, target)]
        n_source = fed[0].shape[-2]
        odds = self._of_source(reverse_gradient(torch.cat(fed, dim=-2), dann_schedule(batch.progress)))
        return source_and(domain_loss(odds[..., :n_source], odds[..., n_source:]), source.logits, batch)

    def _of_source(self, x: Tensor) -> Tensor:
        """[B, width] -> [B]: the log-odds that a video is of the source."""
        hidden = F.relu(x @ self.first + self.first_bias[..., None, :])
        # A product of width 1 is added up in another order alone than beside other heads: its last bits would differ.
        return (hidden * self.last.mT).sum(dim=-1) + self.last_bias

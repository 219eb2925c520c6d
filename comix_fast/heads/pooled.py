"""Heads on statistics of a video's clips over time: one row per video, one linear layer or two."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comix_fast.errors import ShapeError
from comix_fast.heads.dropout import dropout_factors
from comix_fast.heads.head import UNDECIDED, Dropped, Head


class _Pooled(Head):
    """N rows of a video are averaged; a bank of pooled features has one. Both speeds of a video are that same row."""

    def __init__(self, in_dim: int, hidden_dim: int, n_classes: int, dropout: float, n_heads: int | None) -> None:
        super().__init__()
        if min(in_dim, hidden_dim, n_classes) < 1:
            raise ShapeError(
                f"a head needs sizes of at least 1, not in_dim={in_dim}, hidden_dim={hidden_dim}, n_classes={n_classes}"
            )
        self.in_dim, self.hidden_dim, self.n_classes = in_dim, hidden_dim, n_classes
        self.dropout, self.precision, self.n_heads = dropout, "fp32", n_heads

    def _row(self, x: Tensor) -> Tensor:
        self._check(x)
        return x.squeeze(-2) if x.shape[-2] == 1 else x.mean(dim=-2)

    def two_speeds(self, x: Tensor, slow: Tensor, dropped: Dropped = UNDECIDED) -> tuple[Tensor, Tensor]:
        """Logits of the video, twice: a pooled row has no clips to leave out. With dropout each has its own."""
        self._check(x)
        if self.dropout_shape(1, 1) is None:
            logits = self(x)
            return logits, logits
        both = self(x.repeat_interleave(2, dim=-3), dropped).unflatten(-2, (x.shape[-3], 2))
        return both[..., 0, :], both[..., 1, :]


class LinearHead(_Pooled):
    """Softmax regression: x W + b, weights zero at first, so that it begins without an opinion.

    weight: [in_dim, n_classes], bias: [n_classes]; with n_heads in front where there are several. It has no dropout.
    """

    def __init__(self, in_dim: int, n_classes: int, n_heads: int | None = None) -> None:
        super().__init__(in_dim, 1, n_classes, 0.0, n_heads)
        lead = () if n_heads is None else (n_heads,)
        self.weight = nn.Parameter(torch.zeros(*lead, in_dim, n_classes))
        self.bias = nn.Parameter(torch.zeros(*lead, n_classes))

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(self.in_dim, self.n_classes, n_heads)

    def features(self, x: Tensor, dropped: Dropped = UNDECIDED) -> Tensor:
        return self._row(x)

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = features @ self.weight + self.bias[..., None, :]
        return logits

    def hidden(self, x: Tensor) -> Tensor:
        """The logits: nothing else of it is learnt."""
        return self.classify(self._row(x))

    def dropout_shape(self, n_videos: int, n_clips: int) -> None:
        return None

    @property
    def last_weights(self) -> Tensor:
        return self.weight.mT

    @property
    def title(self) -> str:
        return "linear head"


class MlpHead(_Pooled):
    """One hidden layer: in_dim → hidden_dim, ReLU, dropout, → n_classes.

    first, last: weights [in_dim, hidden_dim] and [hidden_dim, n_classes], with biases, uniform in ±1/√(inputs) first;
    with n_heads in front where there are several.
    """

    def __init__(
        self, in_dim: int, hidden_dim: int, n_classes: int, dropout: float = 0.1, n_heads: int | None = None
    ) -> None:
        super().__init__(in_dim, hidden_dim, n_classes, dropout, n_heads)
        lead = () if n_heads is None else (n_heads,)
        self.first = nn.Parameter(torch.empty(*lead, in_dim, hidden_dim))
        self.first_bias = nn.Parameter(torch.empty(*lead, hidden_dim))
        self.last = nn.Parameter(torch.empty(*lead, hidden_dim, n_classes))
        self.last_bias = nn.Parameter(torch.empty(*lead, n_classes))
        for weight, bias in ((self.first, self.first_bias), (self.last, self.last_bias)):
            bound = 1.0 / math.sqrt(weight.shape[-2])
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(self.in_dim, self.hidden_dim, self.n_classes, self.dropout, n_heads)

    def features(self, x: Tensor, dropped: Dropped = UNDECIDED) -> Tensor:
        hidden = F.relu(self._row(x) @ self.first + self.first_bias[..., None, :])
        factors = dropped[0]
        if factors is None and self.training and self.dropout:
            factors = dropout_factors(hidden.shape, self.dropout, None, hidden.dtype, hidden.device)
        return hidden if factors is None else hidden * factors

    def classify(self, features: Tensor) -> Tensor:
        return features @ self.last + self.last_bias[..., None, :]

    def dropout_shape(self, n_videos: int, n_clips: int) -> tuple[int, ...]:
        return n_videos, self.hidden_dim

    @property
    def last_weights(self) -> Tensor:
        return self.last.mT

    @property
    def title(self) -> str:
        return "perceptron head"

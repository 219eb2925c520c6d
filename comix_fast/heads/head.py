"""What every head has in common: features, a last linear layer, logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from comix_fast.errors import ShapeError, WeightsError, first_few
from comix_fast.heads.side_by_side import SideBySide

Precision = Literal["fp32", "bf16"]
Dropped = Sequence[Tensor | None]
"""The factors of a head's two dropouts, see Head.dropout_shape; None draws them in train mode."""
UNDECIDED: Dropped = (None, None)


class Head(SideBySide):
    """Takes [B, N, in_dim] features of B videos, gives [B, n_classes] logits.

    n_heads: R heads of one shape side by side, each with weights and inputs of its own: then every shape here, and in
    the methods, has R in front. They compute what R single heads would, in fewer and larger operations.
    """

    in_dim: int
    hidden_dim: int
    n_classes: int
    dropout: float
    precision: Precision

    def features(self, x: Tensor, dropped: Dropped = UNDECIDED) -> Tensor:
        """[B, N, in_dim] -> [B, F]: what the last layer sees."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Tensor:
        """The last layer: [B, F] -> [B, n_classes] logits."""
        raise NotImplementedError

    def forward(self, x: Tensor, dropped: Dropped = UNDECIDED) -> Tensor:
        """[B, N, in_dim] -> [B, n_classes] logits. dropped: factors of its dropouts, see dropout_shape."""
        return self.classify(self.features(x, dropped))

    def hidden(self, x: Tensor) -> Tensor:
        """[B, N, in_dim] -> [B, E]: the embedding for retrieval, E = F unless a head says otherwise."""
        return self.features(x)

    def two_speeds(self, x: Tensor, slow: Tensor, dropped: Dropped = UNDECIDED) -> tuple[Tensor, Tensor]:
        """Logits of all clips ("fast") and of the clips of the slow view, both [B, n_classes].

        slow: [n] int64 clip numbers, or [N] bool, which clips it has. dropped: as dropout_shape(2 · B, N) says, every
        video's fast before its slow.
        """
        raise NotImplementedError

    def dropout_shape(self, n_videos: int, n_clips: int) -> tuple[int, ...] | None:
        """The shape of one dropout's factors, or None for a head without dropout."""
        raise NotImplementedError

    @property
    def last_weights(self) -> Tensor:
        """[n_classes, F]: the weights of the last layer."""
        raise NotImplementedError

    @property
    def kind(self) -> object:
        return self.precision

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def load_published(self, state_dict: Mapping[str, Tensor]) -> Self:
        """Loads weights by name. Raises WeightsError when names are missing, unknown or of another shape."""
        expected = self.state_dict()
        missing, unknown = sorted(expected.keys() - state_dict.keys()), sorted(state_dict.keys() - expected.keys())
        if missing or unknown:
            raise WeightsError(
                f"these are not the weights of a {self.title}",
                [f"missing: {first_few(missing) or 'none'}", f"unknown: {first_few(unknown) or 'none'}"],
            )
        wrong = [
            f"{name}: {list(state_dict[name].shape)}, expected {list(value.shape)}"
            for name, value in expected.items()
            if state_dict[name].shape != value.shape
        ]
        if wrong:
            raise WeightsError("the weights have other sizes than this head", wrong)
        self.load_state_dict(dict(state_dict))
        return self

    @property
    def title(self) -> str:
        """As errors name it."""
        return "head"

    def _check(self, x: Tensor) -> None:
        lead = () if self.n_heads is None else (self.n_heads,)
        if x.ndim != 3 + len(lead) or x.shape[:-3] != lead or x.shape[-1] != self.in_dim:
            expected = ", ".join(["[" + str(lead[0]) if lead else "[B", *(["B"] if lead else []), "N"])
            raise ShapeError(
                f"the head takes {expected}, {self.in_dim}] clip features, not {list(x.shape)}",
                hint="one row per clip: is this cache from another backbone?",
            )

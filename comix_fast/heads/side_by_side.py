"""Modules of one shape that train side by side: R sets of weights in front of which nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, TypeVar

import torch
from torch import nn

from comix_fast.errors import ShapeError


class SideBySide(nn.Module):
    """A module whose every parameter and buffer may have R in front: then it is R modules, computed as one.

    n_heads: R, or None for a single one.
    """

    n_heads: int | None

    def alike(self, n_heads: int | None) -> Self:
        """A module of the same shape for n_heads heads, its weights not to be relied on."""
        raise NotImplementedError

    @classmethod
    def side_by_side(cls, singles: Sequence[Self]) -> Self:
        """A copy of R single modules of one shape as one of n_heads = R. Raises ShapeError if they differ."""
        first, states = singles[0], [single.state_dict() for single in singles]
        shapes = [{name: value.shape for name, value in state.items()} for state in states]
        if any(shape != shapes[0] for shape in shapes) or len({single.kind for single in singles}) > 1:
            raise ShapeError("heads side by side must have one shape and one precision")
        with torch.device("meta"):
            joined = first.alike(len(singles))
        joined.load_state_dict(
            {name: torch.stack([state[name] for state in states]) for name in states[0]}, assign=True
        )
        return _as_trained(joined, first)

    def single(self, number: int) -> Self:
        """One of several modules, sharing its weights: a change of one shows in the other."""
        with torch.device("meta"):
            one = self.alike(None)
        one.load_state_dict({name: value[number] for name, value in self.state_dict().items()}, assign=True)
        return _as_trained(one, self).train(self.training)

    @property
    def kind(self) -> object:
        """What modules side by side must agree on beside the shapes of their weights."""
        return None


Trained = TypeVar("Trained", bound=nn.Module)


def _as_trained(module: Trained, example: nn.Module) -> Trained:
    """What trains in the example trains in the module, and nothing else."""
    for ours, theirs in zip(module.parameters(), example.parameters(), strict=True):
        ours.requires_grad_(theirs.requires_grad)
    return module

"""What one iteration minimises: a method's loss on one batch, for one head or for many side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.heads import Dropped, Head, SideBySide
from comix_fast.losses.contrastive import Number

Terms = dict[str, Tensor]
"""A scalar of each loss term, [R] for heads side by side; "total" is what is minimised."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What an iteration has drawn; R heads side by side have R in front of every tensor.

    source, target: [b, B, D] standardised features, plain clips; target is None in the warm-start.
    source_mixed, target_mixed: the same clips over a background of the other domain, or None.
    labels: [b] int64, the source's. slow: [B] bool, the clips of the slow view, None in the warm-start.
    progress: share of the phase's iterations that are done, in [0, 1).
    numbers: the recipe's numbers by name: a float if all heads agree, else [R].
    dropped: (what for, videos) -> a head's dropout factors for so many videos, decided by seed, iteration and purpose.
    uniform: (what for, shape of one head's draw) -> uniform numbers in [0, 1), decided in the same way.
    """

    source: Tensor
    target: Tensor | None
    source_mixed: Tensor | None
    target_mixed: Tensor | None
    labels: Tensor
    slow: Tensor | None
    progress: float
    numbers: Mapping[str, Number]
    dropped: Callable[[str, int], Dropped]
    uniform: Callable[[str, Sequence[int]], Tensor]

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """Source and target, plain clips. Raises ShapeError in the warm-start, which has no target."""
        if self.target is None:
            raise ShapeError("this objective adapts: it needs a batch of the target")
        return self.source, self.target


class Objective(SideBySide):
    """A method's loss. What it learns beside the head are its parameters, what it remembers its buffers."""

    def __init__(self, n_heads: int | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads

    def forward(self, head: Head, batch: Batch) -> Terms:
        """The loss terms of a batch, differentiable; every one is logged."""
        raise NotImplementedError

    def after_step(self, head: Head, batch: Batch) -> None:
        """Called when the head has been updated, with the batch that it learnt from. Does nothing by default."""

    @property
    def kind(self) -> object:
        return type(self)

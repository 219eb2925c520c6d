"""Alignment by a distance: the two domains' features are drawn together, by covariance or by kernel means."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from comix_fast.heads import Head
from comix_fast.losses.coral import coral
from comix_fast.losses.mmd import mmd
from comix_fast.objectives.both_domains import one_pass, source_and
from comix_fast.objectives.objective import Batch, Objective, Terms


class _Alignment(Objective):
    """Cross-entropy of the source + λ_align · a distance of the two domains' plain clips.

    of_features: whether the distance is between features, what the last layer sees, as published. Features of a linear
    head are its inputs, which no parameter moves: there it is between logits (see both_domains.learns_features).
    """

    def __init__(self, of_features: bool = True, n_heads: int | None = None) -> None:
        super().__init__(n_heads)
        self._of_features = of_features

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(self._of_features, n_heads)

    @property
    def kind(self) -> object:
        return type(self), self._of_features

    def forward(self, head: Head, batch: Batch) -> Terms:
        source, target = one_pass(head, batch, *batch.both)
        distance = self._distance(source.aligned(self._of_features), target.aligned(self._of_features))
        return source_and(distance, source.logits, batch)

    def _distance(self, source: Tensor, target: Tensor) -> Tensor:
        raise NotImplementedError


class Coral(_Alignment):
    """Deep CORAL (Sun & Saenko 2016, eq. 1 and 6): the distance of covariances.

    It grows with the fourth power of the features' scale and is divided by 4 D²: λ_align is no number to be carried
    from one head, or from features to logits, to another. The authors set it so that both losses end about equal.
    They align the last layer's logits; here, as for MMD, it is what that layer sees, but for a linear head.
    """

    def _distance(self, source: Tensor, target: Tensor) -> Tensor:
        return coral(source, target)


class Mmd(_Alignment):
    """DAN's idea (Long et al. 2015, sec. 3) on one layer: the distance of means in the space of Gaussian kernels.

    They align several layers, with kernel weights that are searched; the kernels here are in losses/mmd.py. The
    bandwidth follows the features, so their scale does not matter.
    """

    def _distance(self, source: Tensor, target: Tensor) -> Tensor:
        return mmd(source, target)

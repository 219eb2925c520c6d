"""Where the features of a run come from: out of a cache, or out of a backbone that is trained with the head.

The head, the losses and the step are the same on either road, see comix_fast.stages.works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.stages.bank import Banks
from comix_fast.stages.batches import AdaptationDraws, Draws, SupervisedDraws
from comix_fast.stages.runs import SeedFolder
from comix_fast.stages.stack import Upstream

WARMSTART, ADAPT, SUPERVISED = "warmstart", "adapt", "supervised"
"""The phases of a run; the last is the bound that trains on the target's labels."""


class Road(Protocol):
    """How the features that a seed's heads see come about."""

    @property
    def upstream(self) -> Upstream | None:
        """What computes the features that are drawn, and learns; None where they are cached."""

    @property
    def source_labels(self) -> Tensor:
        """[V] int64, of the source's training videos."""

    def draws(self, recipe: AdaptRecipe, seed: int, phase: str) -> Draws:
        """What a phase's iterations draw."""

    def seen(self) -> Banks:
        """What heads are measured on: the features of test clips, as the backbone gives them now."""

    def begin(self, files: SeedFolder, phase: str, iterations: int, kept: Mapping[str, Tensor] | None) -> None:
        """Called before a phase of a seed begins, or goes on with what kept() gave to a checkpoint."""

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the head."""

    def save(self, files: SeedFolder, name: str) -> None:
        """Keeps what belongs to a head that is about to be kept under that name."""

    def load(self, files: SeedFolder, name: str) -> None:
        """Makes the features those that a kept head saw."""


class CachedRoad:
    """Features that are read; nothing learns but the head."""

    upstream: Upstream | None = None

    def __init__(self, banks: Banks) -> None:
        self._banks = banks

    @property
    def source_labels(self) -> Tensor:
        return self._banks.source.labels

    def draws(self, recipe: AdaptRecipe, seed: int, phase: str) -> Draws:
        """See Road."""
        if phase == WARMSTART:
            return SupervisedDraws(self._banks.source, recipe.batch_size, seed, phase)
        return AdaptationDraws(self._banks, recipe.batch_size, seed, recipe.uses_mixes)

    def seen(self) -> Banks:
        """See Road."""
        return self._banks

    def begin(self, files: SeedFolder, phase: str, iterations: int, kept: Mapping[str, Tensor] | None) -> None:
        """Nothing has to begin."""

    def kept(self) -> dict[str, Tensor]:
        """Nothing beside the head."""
        return {}

    def save(self, files: SeedFolder, name: str) -> None:
        """The features are in their cache."""

    def load(self, files: SeedFolder, name: str) -> None:
        """They are the same for every head."""

"""The target-supervised bound: how well the head does when it may train on the target's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.console import Advance
from comix_fast.errors import CacheError, RunError
from comix_fast.heads import Head
from comix_fast.stages.bank import Banks, FeatureBank, Standardise
from comix_fast.stages.batches import SupervisedDraws
from comix_fast.stages.measuring import accuracy, predict_logits
from comix_fast.stages.sampling import generator_for
from comix_fast.stages.stack import Member, Progressed, Reported, new_optimiser
from comix_fast.stages.together import train_together

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Bound:
    """One seed of the bound. head: as it begins, one for every fold.

    No video is measured by a head that learnt it: where every measured video is a training one, they are split
    into five stratified folds and each is predicted by a head trained on the other four; where only some are, these
    are left out of training.
    """

    recipe: AdaptRecipe
    banks: Banks
    norms: tuple[Standardise, Standardise]
    seed: int
    head: Head

    @property
    def n_heads(self) -> int:
        """How many heads it trains: one, or one per fold. Raises CacheError if target labels are missing."""
        target, measured = self.banks.target, self.banks.measured
        if bool((target.labels < 0).any()) or bool((measured.labels < 0).any()):
            raise CacheError("the target-supervised bound needs every target video labelled")
        if len(target.ids) < 2:
            raise CacheError("the target-supervised bound needs at least two target videos")
        return min(FOLDS, len(target.ids)) if self.banks.transductive else 1

    def parts(self) -> list[tuple[FeatureBank, FeatureBank]]:
        """For every head: the bank it trains on and the one it predicts."""
        target, measured = self.banks.target, self.banks.measured
        if not self.banks.transductive:
            place = set(measured.ids)
            apart = [number for number, video in enumerate(target.ids) if video not in place]
            return [(target.subset(torch.tensor(apart, dtype=torch.long)), measured)]
        folds = stratified_folds(target.labels, self.n_heads, self.seed)
        return [
            (target.subset((folds != fold).nonzero()[:, 0]), target.subset((folds == fold).nonzero()[:, 0]))
            for fold in range(self.n_heads)
        ]


@dataclass(frozen=True, eq=False)
class Bounded:
    """What a bound came to. accuracy: in [0, 1]; predicted: [V] int64, the class of every measured video."""

    accuracy: float
    predicted: Tensor


def bounds(wanted: Sequence[Bound], advance: Advance, of_heads: int | None = None) -> list[Bounded | RunError]:
    """One result per bound, all heads trained together as the warm-start is; RunError if one was lost.

    advance: called with 1 for every head trained, see Bound.n_heads; of_heads: as train_together takes it.
    Raises CacheError if target labels are missing or there are fewer than two videos to split.
    """
    members: list[Member] = []
    of: dict[int, int] = {}
    logits = [_Predicted(bound, advance) for bound in wanted]
    for number, bound in enumerate(wanted):
        for fold, (train_on, predict_on) in enumerate(bound.parts()):
            phase = f"supervised {fold}"
            members.append(
                Member(
                    head=bound.head.to(train_on.clips.device),
                    recipe=bound.recipe,
                    seed=bound.seed,
                    phase=phase,
                    draws=SupervisedDraws(train_on, bound.recipe.batch_size, bound.seed, phase, domain=1),
                    norms=bound.norms,
                    iterations=bound.recipe.warmstart_iterations or 0,
                    report_every=bound.recipe.warmstart_iterations or 1,
                    reported=logits[number].reported(predict_on),
                )
            )
            of[id(members[-1])] = number
    for member in members:
        if not member.iterations:
            member.reported(member.head, new_optimiser(member.head, member.recipe), Progressed(0, {}))
    members = [member for member in members if member.iterations]
    failed = {of[id(member)]: error for member, error in train_together(members, of_heads)}
    return [failed.get(number) or logits[number].bounded() for number in range(len(wanted))]


class _Predicted:
    """Gathers what the heads of one bound say of the measured videos."""

    def __init__(self, bound: Bound, advance: Advance) -> None:
        self._bound, self._advance = bound, advance
        self._place = {video: number for number, video in enumerate(bound.banks.measured.ids)}
        self._logits = torch.zeros(len(self._place), bound.head.n_classes)

    def reported(self, predict_on: FeatureBank) -> Reported:
        """What to do with a trained head."""

        def take(head: Head, *_: object) -> None:
            rows = predict_logits(head, predict_on, self._bound.norms[1])
            for video, row in zip(predict_on.ids, rows, strict=True):
                if video in self._place:
                    self._logits[self._place[video]] = row
            self._advance(1)

        return take

    def bounded(self) -> Bounded:
        """Of all heads together."""
        value = accuracy(self._logits, self._bound.banks.measured.labels)
        assert value is not None  # every video is labelled, as Bound.n_heads checks
        return Bounded(value, self._logits.argmax(dim=1))


def stratified_folds(labels: Tensor, n_folds: int, seed: int) -> Tensor:
    """[V] fold numbers; every class is spread over the folds as evenly as it goes, in seeded order."""
    folds = torch.empty_like(labels)
    dealt = 0
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator_for(seed, "fold", label))
        folds[members[order]] = (torch.arange(len(members)) + dealt) % n_folds
        dealt += len(members)
    return folds

"""The target-supervised bound: how well the head does when it may train on the target's labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.console import Advance
from comix_fast.errors import CacheError
from comix_fast.heads import TemporalGraph
from comix_fast.stages.bank import Banks, FeatureBank, Standardise
from comix_fast.stages.sampling import generator_for
from comix_fast.stages.training import accuracy, new_optimiser, predict_logits, supervised_loss, train

FOLDS = 5


def supervised_accuracy(
    recipe: AdaptRecipe,
    banks: Banks,
    norm: Standardise,
    seed: int,
    new_head: Callable[[], TemporalGraph],
    advance: Advance,
) -> float:
    """Accuracy in [0, 1] of a head trained on the target's labelled training videos, as the warm-start is.

    No video is measured by a head that learnt it: where every measured video is a training one, they are split
    into five stratified folds and each is predicted by a head trained on the other four; where only some are, these
    are left out of training. advance: called with 1 for every head trained, see n_heads.
    Raises CacheError if target labels are missing or there are fewer than two videos to split.
    """
    target, measured = banks.target, banks.measured
    if bool((target.labels < 0).any()) or bool((measured.labels < 0).any()):
        raise CacheError("the target-supervised bound needs every target video labelled")
    if len(target.ids) < 2:
        raise CacheError("the target-supervised bound needs at least two target videos")
    place = {video: number for number, video in enumerate(measured.ids)}
    folds = torch.tensor([0 if video in place else 1 for video in target.ids])
    if banks.transductive:
        folds = stratified_folds(target.labels, n_heads(banks), seed)
    logits: Tensor | None = None
    for fold in range(n_heads(banks)):
        inside = folds == fold
        predicted = target.subset(inside.nonzero()[:, 0]) if banks.transductive else measured
        part = _fit(
            recipe, target.subset((~inside).nonzero()[:, 0]), norm, seed, f"supervised {fold}", new_head, predicted
        )
        logits = part.new_zeros(len(measured.ids), part.shape[1]) if logits is None else logits
        for video, row in zip(predicted.ids, part, strict=True):
            if video in place:
                logits[place[video]] = row
        advance(1)
    value = None if logits is None else accuracy(logits, measured.labels)
    assert value is not None  # every video is labelled, as checked above
    return value


def n_heads(banks: Banks) -> int:
    """How many heads the bound trains: one, or one per fold."""
    return min(FOLDS, len(banks.target.ids)) if banks.transductive else 1


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


def _fit(
    recipe: AdaptRecipe,
    train_on: FeatureBank,
    norm: Standardise,
    seed: int,
    phase: str,
    new_head: Callable[[], TemporalGraph],
    predict_on: FeatureBank,
) -> Tensor:
    head = new_head()
    loss = supervised_loss(head, train_on, norm, recipe, seed, phase)
    optimiser = new_optimiser(head, recipe)
    iterations = recipe.warmstart_iterations
    for _ in train(
        head,
        optimiser,
        loss,
        seed=seed,
        phase=phase,
        begin=0,
        iterations=iterations,
        lr=recipe.lr,
        report_every=iterations,
    ):
        pass
    return predict_logits(head, predict_on, norm)

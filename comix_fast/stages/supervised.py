"""The target-supervised bound: how well the head does when it may train on the target's labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.errors import CacheError
from comix_fast.heads import TemporalGraph
from comix_fast.stages.bank import Banks, FeatureBank, Standardise
from comix_fast.stages.sampling import generator_for
from comix_fast.stages.training import accuracy, new_optimiser, predict_logits, supervised_loss, train

FOLDS = 5


def supervised_accuracy(
    recipe: AdaptRecipe, banks: Banks, norm: Standardise, seed: int, new_head: Callable[[], TemporalGraph]
) -> float:
    """Accuracy in [0, 1] of a head trained on the target's labelled training videos, as the warm-start is.

    Without a test list, what is measured would be what was learnt by heart; then the videos are split into five
    stratified folds and each is predicted by a head trained on the other four.
    Raises CacheError if target labels are missing.
    """
    target, measured = banks.target, banks.measured
    if bool((target.labels < 0).any()) or bool((measured.labels < 0).any()):
        raise CacheError("the target-supervised bound needs every target video labelled")
    if not banks.transductive:
        logits = _fit(recipe, target, norm, seed, "supervised", new_head, measured)
        value = accuracy(logits, measured.labels)
    else:
        folds = stratified_folds(target.labels, FOLDS, seed)
        logits = torch.zeros(len(target.ids), 0)
        for fold in range(FOLDS):
            inside = folds == fold
            train_on, predict_on = (
                target.subset((~inside).nonzero()[:, 0]),
                target.subset(inside.nonzero()[:, 0]),
            )
            part = _fit(recipe, train_on, norm, seed, f"supervised {fold}", new_head, predict_on)
            if fold == 0:
                logits = torch.zeros(len(target.ids), part.shape[1])
            logits[inside] = part
        value = accuracy(logits, target.labels)
    assert value is not None  # every video is labelled, as checked above
    return value


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

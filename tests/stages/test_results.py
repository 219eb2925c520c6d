"""How a run's evaluations become rows: which step each choice takes, and what is said about them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comix_fast.config import AdaptRecipe
from comix_fast.stages.results import chosen_steps, measured_on, method_name
from comix_fast.stages.supervised import stratified_folds

LINES = [
    {"iteration": 10, "infomax": 0.2, "target_accuracy": 0.5},
    {"iteration": 20, "infomax": 0.9, "target_accuracy": 0.6},
    {"iteration": 30, "infomax": 0.3, "target_accuracy": 0.8},
    {"iteration": 40, "infomax": 0.9, "target_accuracy": 0.7},
]


def test_each_choice_takes_its_own_step() -> None:
    picked = chosen_steps(LINES, "infomax")
    assert picked["last"] == {"iteration": 40, "accuracy": 0.7, "score": 0.9}
    assert picked["selected"] == {"iteration": 20, "accuracy": 0.6, "score": 0.9}
    assert picked["oracle"] == {"iteration": 30, "accuracy": 0.8, "score": 0.3}


def test_selection_needs_no_label() -> None:
    bare = [line | {"target_accuracy": None} for line in LINES]
    assert chosen_steps(bare, "infomax")["selected"] == {"iteration": 20, "accuracy": None, "score": 0.9}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "+ BGM + TPL"),
        ({"mixing": False}, "+ TCL + TPL"),
        ({"lambda_tpl": 0.0}, "+ BGM"),
        ({"lambda_bgm": 0.0}, "+ TPL"),
        ({"lambda_bgm": 0.0, "lambda_tpl": 0.0}, "standardised per domain"),
        ({"lambda_bgm": 0.0, "lambda_tpl": 0.0, "feature_norm": "source"}, "source-only"),
        ({"iterations": 0}, "source-only"),
        ({"method": "target-supervised"}, "target-supervised"),
    ],
)
def test_methods_are_named_by_their_parts(changes: dict[str, object], name: str) -> None:
    assert method_name(replace(AdaptRecipe(), **changes)) == name  # type: ignore[arg-type]


def test_what_is_measured_is_said_in_one_sentence() -> None:
    meta = {"n_labelled": 9, "dataset": {"measured": {"n": 12}}, "target": "lawn", "transductive": True}
    assert (
        measured_on(meta)
        == "9 videos that are labelled, of 12, of lawn: the ones adapted on, without their labels (transductive)"
    )
    assert "no labels" in measured_on(meta | {"n_labelled": 0})


def test_folds_spread_every_class() -> None:
    import torch

    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 7)
    folds = stratified_folds(labels, 5, seed=0)
    assert sorted(torch.bincount(folds).tolist()) == [4, 4, 4, 5, 5]
    for label in range(3):
        counts = torch.bincount(folds[labels == label], minlength=5)
        assert int(counts.max() - counts.min()) <= 1
    assert not torch.equal(folds, stratified_folds(labels, 5, seed=1))

"""Fields of a recipe that decide nothing are known for what they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comix_fast.config import AdaptRecipe
from comix_fast.presets import RECOMMENDED
from comix_fast.unread import unread

PUBLISHED = AdaptRecipe()
DANN = replace(PUBLISHED, method="dann")


@pytest.mark.parametrize(
    ("recipe", "idle"),
    [
        (RECOMMENDED, ["iterations", "hidden_dim", "precision", "lambda_align", "pseudo_threshold", "prior_weight"]),
        (PUBLISHED, ["statistics", "lambda_align", "teacher_temperature", "prior_weight"]),
        (DANN, ["statistics", "lambda_bgm", "lambda_teacher", "teacher_momentum", "temperature", "pseudo_threshold"]),
        (replace(PUBLISHED, method="self-training"), ["lambda_tpl", "temperature"]),
    ],
)
def test_what_decides_nothing_is_named(recipe: AdaptRecipe, idle: list[str]) -> None:
    assert unread(idle, [recipe]) == idle


@pytest.mark.parametrize(
    ("recipe", "read"),
    [
        (RECOMMENDED, ["statistics", "lambda_teacher", "lambda_bgm", "lr", "seeds"]),
        (PUBLISHED, ["hidden_dim", "precision", "lambda_teacher", "pseudo_threshold", "temperature"]),
        (DANN, ["lambda_align", "dropout"]),
        (replace(PUBLISHED, method="self-training"), ["pseudo_threshold"]),
    ],
)
def test_what_decides_something_is_not(recipe: AdaptRecipe, read: list[str]) -> None:
    assert unread(read, [recipe]) == []


def test_one_recipe_that_reads_a_field_is_enough() -> None:
    assert unread(["hidden_dim"], [RECOMMENDED, PUBLISHED]) == []

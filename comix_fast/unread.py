"""Which fields of a recipe decide nothing: to say so to whoever sets one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from comix_fast.config import AdaptRecipe


def _is_comix(recipe: AdaptRecipe) -> bool:
    return recipe.method == "comix"


def _has_tpl(recipe: AdaptRecipe) -> bool:
    return recipe.method == "self-training" or (_is_comix(recipe) and recipe.lambda_tpl > 0)


def _has_teacher(recipe: AdaptRecipe) -> bool:
    return _is_comix(recipe) and recipe.lambda_teacher > 0


def _has_contrast(recipe: AdaptRecipe) -> bool:
    return _is_comix(recipe) and (recipe.lambda_bgm > 0 or recipe.lambda_tpl > 0)


def _has_hidden_layer(recipe: AdaptRecipe) -> bool:
    return recipe.head != "linear"


def _is_graph(recipe: AdaptRecipe) -> bool:
    return recipe.head == "graph"


_READ_BY: Mapping[str, Callable[[AdaptRecipe], bool]] = {
    "statistics": lambda recipe: recipe.pooled,
    "iterations": lambda recipe: recipe.adapts,
    "hidden_dim": _has_hidden_layer,
    "dropout": _has_hidden_layer,
    "precision": _is_graph,
    "lambda_bgm": _is_comix,
    "lambda_tpl": _is_comix,
    "lambda_teacher": _is_comix,
    "lambda_align": lambda recipe: recipe.adapts and not _is_comix(recipe),
    "pseudo_threshold": _has_tpl,
    "temperature": _has_contrast,
    "teacher_temperature": _has_teacher,
    "teacher_momentum": _has_teacher,
    "prior_weight": _has_teacher,
}


def unread(names: Iterable[str], recipes: Sequence[AdaptRecipe]) -> list[str]:
    """Of some fields, those that none of the recipes reads: they would change a run's name and nothing else."""
    return [name for name in names if name in _READ_BY and not any(_READ_BY[name](recipe) for recipe in recipes)]

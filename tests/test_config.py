"""Recipes: keys that change with every field, views as typed, presets as published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import small_recipe
from comix_fast.config import (
    AdaptRecipe,
    ViewPlan,
    canonical_json,
    differences,
    digest,
)
from comix_fast.errors import ComixError
from comix_fast.presets import ADAPT_PRESETS, RECOMMENDED, adapt_preset, settled_iterations


def test_canonical_json_does_not_depend_on_order() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 112},
        {"clip_length": 16},
        {"stride": 2},
        {"bins": 8},
        {"min_frames": 64},
        {"batch_size": 8},
        {"device": "cuda"},
        {"decoder": {"name": "pyav", "version": "1"}},
        {"backbone": {"name": "made-up", "precision": "bf16"}},
        {"views": ViewPlan((2,), 2)},
        {"views": ViewPlan((), 3)},
        {"views": ViewPlan((), 2, seed=1)},
        {"views": ViewPlan((), 2, gamma_max=0.4)},
    ],
)
def test_every_field_is_in_the_key(changes: dict[str, object]) -> None:
    ours, other = small_recipe().to_json(), small_recipe(**changes).to_json()
    assert digest(ours) != digest(other)
    assert differences(ours, other)


def test_views_as_typed() -> None:
    plan = ViewPlan.parse(["plain", "speed-3", "speed-2", "bgmix"], mixes=2, seed=5)
    assert plan.unmixed == {"plain": 1, "speed-2": 2, "speed-3": 3}
    assert plan.mixed == ("bgmix-0", "bgmix-1")
    assert ViewPlan.parse(["plain"], mixes=4, seed=0).mixed == ()
    with pytest.raises(ComixError, match=r"(?s)no view 'speed-1'.*speed-2 … speed-9"):
        ViewPlan.parse(["speed-1"], 4, 0)
    with pytest.raises(ComixError, match="--mixes must be between 0 and 64, not -1"):
        ViewPlan.parse(["bgmix"], -1, 0)


def test_presets_are_the_published_ones() -> None:
    published = {name: recipe for name, recipe in ADAPT_PRESETS.items() if name.endswith("-published")}
    lambdas = {
        name.removesuffix("-published"): (recipe.lambda_bgm, recipe.lambda_tpl) for name, recipe in published.items()
    }
    assert lambdas == {"ucf-hmdb": (0.1, 0.01), "hmdb-ucf": (0.1, 0.01), "jester": (0.1, 0.1), "epic": (0.01, 0.01)}
    for recipe in published.values():
        assert (recipe.head, recipe.method, recipe.lambda_teacher) == ("graph", "comix", 0.0)
        assert (recipe.warmstart_iterations, recipe.iterations, recipe.batch_size) == (4000, 10000, 8)
        assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.01, 0.9, 1e-7)
        assert (recipe.temperature, recipe.pseudo_threshold, recipe.label_smoothing) == (0.5, 0.7, 0.1)
    with pytest.raises(ComixError, match=r"(?s)no preset 'kinetics'.*ucf-hmdb"):
        adapt_preset("kinetics")


def test_what_is_recommended_is_the_default_and_every_other_preset() -> None:
    assert adapt_preset(None) is RECOMMENDED
    others = {name for name in ADAPT_PRESETS if not name.endswith("-published")}
    assert others == {"recommended", "ucf-hmdb", "hmdb-ucf", "jester", "epic"}
    assert all(ADAPT_PRESETS[name] == RECOMMENDED for name in others)


def test_iterations_settle_on_the_published_epochs() -> None:
    few = settled_iterations(RECOMMENDED, 60, 60)
    assert (few.warmstart_iterations, few.iterations, few.eval_every) == (400, 500, 100)
    many = settled_iterations(RECOMMENDED, 50_000, 60)
    assert (many.warmstart_iterations, many.iterations, many.eval_every) == (4000, 10000, 250)
    between = settled_iterations(RECOMMENDED, 1000, 1200)
    assert (between.warmstart_iterations, between.iterations) == (22 * 1000 // 8, 56 * 1200 // 8)
    asked = settled_iterations(replace(RECOMMENDED, iterations=7), 1000, 1200)
    assert (asked.warmstart_iterations, asked.iterations) == (2750, 7)


def test_warm_starts_may_be_shared_across_what_comes_after() -> None:
    recipe = AdaptRecipe()
    same = replace(recipe, lambda_bgm=0.5, lambda_tpl=0.0, mixing=False, iterations=1, seeds=4)
    assert same.warmstart_json() == recipe.warmstart_json()
    for changes in ({"lr": 1.0}, {"feature_norm": "none"}, {"reverse": True}, {"warmstart_iterations": 1}):
        assert replace(recipe, **changes).warmstart_json() != recipe.warmstart_json()  # type: ignore[arg-type]


def test_differences_name_the_field() -> None:
    ours = {"a": {"b": 1, "c": [1]}, "d": 0}
    assert differences(ours, {"a": {"b": 2, "c": [1]}}) == ["a.b: 1, there 2", "d: 0, there (absent)"]
    assert differences(ours, ours) == []

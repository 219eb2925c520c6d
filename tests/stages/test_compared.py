"""The methods that are compared, and what a cache allows of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from comparing import SHORT, Shown, compared, content

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.comparison import FAMILIES
from comix_fast.config import AdaptRecipe
from comix_fast.errors import ComixError
from comix_fast.presets import RECOMMENDED, TEACHER_WEIGHT
from comix_fast.selection import SCORES
from comix_fast.stages.compared import METHODS, OURS, PUBLISHED, LogisticFit, Schedule, allowed, parse_methods
from comix_fast.stages.pooling import parse_statistics

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_methods_are_named_once_in_the_order_of_families() -> None:
    assert list(METHODS) == [
        *("source-only-graph", "adabn"),
        *("logistic-mean", "logistic-mean-domain", "logistic-mean-max-domain"),
        *("logistic-mean-max-std", "logistic-mean-max-std-domain"),
        *("coral", "mmd", "dann", "mcd", "self-training", "adamatch"),
        *("coral-statistics", "mmd-statistics", "dann-statistics", "mcd-statistics"),
        *("self-training-statistics", "adamatch-statistics"),
        *("comix", "comix-tcl", "comix-bgm", "comix-tpl"),
        *("source-only", "ours-logistic", "ours", "ours-teacher"),
        "target-supervised",
    ]
    families = [FAMILIES.index(method.family) for method in METHODS.values()]
    assert families == sorted(families)
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    for method in METHODS.values():
        if isinstance(method.how, LogisticFit):
            assert parse_statistics(method.how.statistics)
        else:
            assert method.how.select_by in SCORES


def test_each_method_trains_by_the_recipe_it_is_said_to() -> None:
    recipes = {name: method.how for name, method in METHODS.items() if isinstance(method.how, AdaptRecipe)}
    assert recipes["ours"] == OURS == RECOMMENDED
    assert recipes["source-only"] == replace(OURS, method="source-only", feature_norm="source")
    assert recipes["ours-teacher"] == replace(OURS, lambda_teacher=TEACHER_WEIGHT)
    assert (PUBLISHED.warmstart_iterations, PUBLISHED.iterations) == (None, None)
    plain = AdaptRecipe()
    assert (PUBLISHED.head, PUBLISHED.lambda_bgm, PUBLISHED.lambda_tpl) == ("graph", 0.1, 0.01)
    same = replace(PUBLISHED, warmstart_iterations=4000, iterations=10000, eval_every=plain.eval_every)
    assert same == plain
    for name in ("coral", "mmd", "dann", "mcd", "self-training", "adamatch"):
        assert recipes[name].method == name
        assert replace(recipes[name], method="comix", lambda_align=1.0) == PUBLISHED
        on_statistics = replace(recipes[name], head="mlp", statistics=RECOMMENDED.statistics)
        assert recipes[f"{name}-statistics"] == on_statistics
    parts = {name: (one.lambda_bgm > 0, one.lambda_tpl > 0, one.uses_mixes) for name, one in recipes.items()}
    assert parts["comix"] == (True, True, True)
    assert parts["comix-tcl"] == (True, False, False)
    assert parts["comix-bgm"] == (True, False, True)
    assert parts["comix-tpl"] == (False, True, False)


def test_methods_are_chosen_by_name_in_the_tables_order() -> None:
    assert [method.name for method in parse_methods("ours, coral,ours")] == ["coral", "ours"]
    assert [method.name for method in parse_methods(None)] == list(METHODS)
    with pytest.raises(ComixError, match=r"there is no method 'our', ''(?s:.*)adabn: (?s:.*)ours: ours"):
        parse_methods("our,coral,")


def test_without_mixed_views_what_needs_none_goes_on(make_cache: MakeCache, tmp_path: Path) -> None:
    root, shown = tmp_path / "c", Shown()
    compared(
        make_cache(mixes=0), root, "self-training,comix,comix-tcl,comix-bgm,source-only,ours-teacher", shown, seeds=1
    )
    found = content(root)
    assert [row["name"] for row in found["rows"]] == ["self-training", "comix-tcl", "source-only", "ours-teacher"]
    assert list(found["left_out"]) == ["comix", "comix-bgm"]
    assert "left out: comix: the cache has no background-mixed views" in shown.said
    assert {name: recipe["mixing"] for name, recipe in found["recipes"].items()} == {
        "self-training": False,
        "comix-tcl": False,
        "source-only": True,
        "ours-teacher": False,
    }
    assert "on ours + teacher: without mixing: the cache has no background-mixed views" in found["notes"]
    with pytest.raises(ComixError, match=r"allows none of the methods(?s:.*)comix: the cache has no background-mixed"):
        compared(make_cache("none", mixes=0), tmp_path / "d", "comix,comix-bgm")


def test_what_the_cache_allows_is_known_before_anything_is_trained(make_cache: MakeCache) -> None:
    possible, left_out = allowed(parse_methods(None), SHORT, FeatureCache(make_cache()))
    assert left_out == {}
    recipes = [method.how for method in possible if isinstance(method.how, AdaptRecipe)]
    assert {(one.seeds, one.warmstart_iterations, one.iterations, one.eval_every) for one in recipes} == {(2, 6, 4, 2)}
    # Nothing asked for: each recipe's own, but for the seeds.
    possible, _ = allowed(parse_methods("ours,comix"), Schedule(), FeatureCache(make_cache("again")))
    assert [method.how for method in possible] == [replace(PUBLISHED, seeds=5), replace(OURS, seeds=5)]

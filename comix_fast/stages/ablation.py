"""CoMix's parts one by one, on one warm-start: the table that says what each part brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from comix_fast.cache.reader import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter
from comix_fast.stages import adapt
from comix_fast.stages.runs import RunFolder


def variants(recipe: AdaptRecipe, supervised: bool) -> dict[str, AdaptRecipe]:
    """The recipes of an ablation by folder name."""
    parts = {
        "tcl": replace(recipe, mixing=False, lambda_tpl=0.0),
        "bgm": replace(recipe, lambda_tpl=0.0),
        "bgm-tpl": recipe,
    }
    bound = {"target-supervised": replace(recipe, method="target-supervised")}
    return parts | bound if supervised else parts


def run(recipe: AdaptRecipe, cache: FeatureCache, root: Path, *, reporter: Reporter, **where: Any) -> list[RunFolder]:
    """TCL, BGM, BGM + TPL and, where the target is labelled, the supervised bound, each into `root`/<part>.

    They warm-start once and train together. where: as adapt.run_all takes it.
    """
    domain = "source" if recipe.reverse else "target"
    target = cache.videos(domain, "train") + (cache.videos(domain, "test") if cache.has_test(domain) else [])
    supervised = len(target) > 1 and all(video.label is not None for video in target)
    recipes = {root / name: variant for name, variant in variants(recipe, supervised).items()}
    folders, lost = adapt.run_all(recipes, cache, reporter=reporter, **where)
    if lost:
        raise lost[0].error
    return folders

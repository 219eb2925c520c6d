"""CoMix's parts one by one, on one warm-start: the table that says what each part brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comix_fast.cache.reader import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter
from comix_fast.stages import adapt
from comix_fast.stages.runs import RunFolder


def variants(recipe: AdaptRecipe, supervised: bool) -> dict[str, AdaptRecipe]:
    """The recipes of an ablation by folder name; the first one warm-starts the others."""
    parts = {
        "tcl": replace(recipe, mixing=False, lambda_tpl=0.0),
        "bgm": replace(recipe, lambda_tpl=0.0),
        "bgm-tpl": recipe,
    }
    bound = {"target-supervised": replace(recipe, method="target-supervised")}
    return parts | bound if supervised else parts


def run(recipe: AdaptRecipe, cache: FeatureCache, root: Path, *, reporter: Reporter) -> list[RunFolder]:
    """Runs TCL, BGM, BGM + TPL and, where the target is labelled, the supervised bound, each into `root`/<part>."""
    domain = "source" if recipe.reverse else "target"
    target = cache.videos(domain, "train") + (cache.videos(domain, "test") if cache.has_test(domain) else [])
    supervised = len(target) > 1 and all(video.label is not None for video in target)
    done: list[RunFolder] = []
    for name, variant in variants(recipe, supervised).items():
        reporter.say(f"ablation: {name}")
        shares = done and variant.method == "comix"
        first = done[0] if shares else None
        done.append(adapt.run(variant, cache, root / name, reporter=reporter, warmstart_from=first))
    return done

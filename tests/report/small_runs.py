"""Small runs to report on, and what tests do to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.report.gathering import MapAsked, PicturesAsked, ReportAsked, gather, read_run
from comix_fast.stages import adapt

SHORT = AdaptRecipe(
    head="linear", statistics="mean+std", warmstart_iterations=20, iterations=20, eval_every=10, batch_size=6,
    lambda_bgm=0.0, lambda_tpl=0.0, lambda_teacher=0.1, seeds=2,
)  # fmt: skip


def adapted(cache: Path, root: Path, recipe: AdaptRecipe = SHORT) -> Path:
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent()).root


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes an object in a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def gathered(
    *runs: Path,
    maps: MapAsked | None = None,
    pictures: PicturesAsked | None = None,
    cap: int = 16_000_000,
    size: Callable[[Mapping[str, Any]], int] = lambda values: 0,
) -> dict[str, Any]:
    """The values of a page, without maps unless asked for."""
    asked = ReportAsked("comix report …", "2026-01-01", maps, pictures or PicturesAsked(wanted=False), cap)
    return gather([read_run(run) for run in runs], asked, size, Silent())


def of_one(run: Path, **asked: Any) -> dict[str, Any]:
    """The values of the only run of a page."""
    (values,) = gathered(run, **asked)["runs"]
    return values


def curve(run: Mapping[str, Any], phase: str, term: str) -> Mapping[str, Any]:
    """The one curve of that name."""
    (found,) = [one for one in run["curves"] if (one["phase"], one["term"]) == (phase, term)]
    return found


def terms(run: Mapping[str, Any], phase: str, kind: str) -> Sequence[str]:
    return [one["term"] for one in run["curves"] if (one["phase"], one["kind"]) == (phase, kind)]

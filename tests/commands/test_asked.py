"""What finetune and train take from a run to begin with, what they refuse beside it, what they say decides nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builders import write_run
from comix_fast.commands.asked import Asked, Backbone, Where, new, remarks
from comix_fast.config import AdaptRecipe
from comix_fast.errors import ComixError
from comix_fast.presets import END_TO_END, train_preset

HEAD = AdaptRecipe(hidden_dim=8, feature_norm="domain")


def begun(root: Path, weights: str = "kinetics400", **asked: Any) -> Asked:
    described = {"name": "i3d", "weights": weights, "weights_sha256": "ab" * 32, "precision": "fp32"}
    backbone: Any = SimpleNamespace(recipe=lambda: described, feature_dim=6)
    run = write_run(root, HEAD, backbone)
    recipe = asked.pop("recipe", END_TO_END)
    changes, typed = asked.pop("changes", {}), asked.pop("typed", ())
    return new(Where(), recipe, Backbone(**asked), run, changes, typed)


def test_a_warm_head_is_adapted_at_once_unless_a_warm_start_is_typed(tmp_path: Path) -> None:
    asked = begun(tmp_path / "a")
    assert (asked.recipe.warmstart_iterations, asked.recipe.hidden_dim, asked.recipe.feature_norm) == (0, 8, "domain")
    assert begun(tmp_path / "b", changes={"warmstart_iterations": 7}).recipe.warmstart_iterations == 7
    # finetune is the warm-start.
    source_only = replace(END_TO_END, method="source-only")
    assert begun(tmp_path / "c", recipe=source_only).recipe.warmstart_iterations is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"changes": {"head": "linear"}}, "--head linear contradicts --from-run"),
        (
            {"name": "s3d", "typed": ("backbone",)},
            "--backbone s3d contradicts --from-run: its head takes i3d's features",
        ),
        ({"weights": "random", "typed": ("weights",)}, "--weights random contradicts --from-run"),
    ],
)
def test_what_contradicts_the_run_is_refused(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    weights = {"weights": asked.pop("weights")} if "weights" in asked else {}
    described: Any = SimpleNamespace(
        recipe=lambda: {"name": "i3d", "weights": "kinetics400", "weights_sha256": "ab" * 32}, feature_dim=6
    )
    run = write_run(tmp_path / "run", HEAD, described)
    changes, typed, name = asked.get("changes", {}), asked.get("typed", ()), asked.get("name", "i3d")
    with pytest.raises(ComixError, match=message):
        new(Where(), END_TO_END, Backbone(name, **weights), run, changes, typed)


def test_a_run_on_a_weights_file_wants_that_file(tmp_path: Path) -> None:
    with pytest.raises(ComixError, match=r"(?s)weights from a file.*" + "ab" * 32):
        begun(tmp_path / "a", weights="file")


def test_options_that_decide_nothing_are_said(tmp_path: Path) -> None:
    asked = Asked(Where(), END_TO_END.with_changes({"mixing": False}), Backbone(freeze=True, mixes=2))
    said = "\n".join(remarks(asked, ("batch_norm", "mixes", "statistics", "lr", "clips")))
    assert "--batch-norm decides nothing: the backbone does not learn" in said
    assert "--mixes decides nothing: no background is mixed in" in said
    assert "--statistics decides nothing for method comix" in said
    assert "--lr" not in said
    assert "--clips" not in said
    assert remarks(Asked(Where(), END_TO_END, Backbone(mixes=2)), ("batch_norm", "mixes", "micro_batch")) == []


def test_presets_of_full_runs() -> None:
    assert (train_preset("jester").lambda_tpl, train_preset("epic-d1-d3").lambda_bgm) == (0.1, 0.01)
    for unknown in ("jester-anything", "epic-d1", "recommended"):
        with pytest.raises(ComixError, match="there is no preset"):
            train_preset(unknown)

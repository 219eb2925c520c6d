"""The recipe of a run from frames: what it refuses, what it hands on."""

from __future__ import annotations

import dataclasses
import json

import pytest
import tiny as made

from comix_fast.backbones import load_backbone
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.errors import ComixError
from comix_fast.training.recipe import VideoRecipe

FIELDS = {"backbone": {"name": "made-up"}, "decoder": {"name": "none", "version": "0"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, r"--backbone-lr must be above 0, not 0\.0"),
        ({"lr": -1.0}, "--backbone-lr must be above 0"),
        ({"lr": float("nan")}, "--backbone-lr must be above 0, not nan"),
        ({"bins": 0}, "--clips must be above 0"),
        ({"processes": 0}, "--devices must be above 0"),
        ({"micro_batch": 0}, "--micro-batch must be above 0"),
        ({"mixes": 0}, "--mixes must be between 1 and 64, not 0"),
        ({"mixes": 65}, "--mixes must be between 1 and 64, not 65"),
        ({"bins": 17}, "--clips must be 16 or fewer, not 17"),
        ({"bins": 8, "min_frames": 36}, "--clips must be 7 or fewer, not 8"),
    ],
)
def test_what_no_run_can_have_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ComixError, match=message):
        VideoRecipe(**FIELDS, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"mixes": 64}, {"mixes": 1}, {"bins": 16}, {"micro_batch": 1}, {"bins": 1}])
def test_the_bounds_themselves_are_taken(changes: dict[str, int]) -> None:
    recipe = VideoRecipe(**FIELDS, **changes)  # type: ignore[arg-type]
    assert VideoRecipe(**json.loads(json.dumps(recipe.to_json()))) == recipe
    assert set(recipe.to_json()) == {field.name for field in dataclasses.fields(VideoRecipe)}


def test_the_features_recipe_is_a_caches(tiny: str) -> None:
    backbone = load_backbone(tiny, "random")
    video = made.video_recipe(backbone, bins=5, stride=3, clip_length=6, device="cuda", min_frames=60)
    found = video.extract_recipe(backbone.recipe(), 7)
    assert found == ExtractRecipe(
        backbone.recipe(), video.decoder, ViewPlan((), 0), size=32, clip_length=6, stride=3, bins=5, min_frames=60,
        batch_size=7, device="cuda",
    )  # fmt: skip
    assert list(found.to_json()["views"]) == ["plain"]

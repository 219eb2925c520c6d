"""One step, two roads: with a frozen backbone and equal draws, training from frames is training from a cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CLIP_SIZE, NAME, RECIPE, draw_film, footage_of, train_small
from torch import Tensor

from comix_fast.backbones import Backbone, backbone, i3d_jax, load_backbone, registry
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe, ExtractRecipe, ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import Dataset
from comix_fast.stages import adapt, extract
from comix_fast.stages.runs import RunFolder
from comix_fast.training.processes import Processes
from comix_fast.training.recipe import VideoRecipe
from comix_fast.training.train import Engine
from comix_fast.training.train import run as train
from comix_fast.video import choose_decoder

MIXES = 2
RECIPES: Mapping[str, AdaptRecipe] = {
    "each domain by its own": replace(RECIPE, warmstart_iterations=25, iterations=25, eval_every=1),
    "as they are": replace(RECIPE, warmstart_iterations=25, iterations=25, eval_every=1, feature_norm="none"),
    "source only": replace(RECIPE, method="source-only", warmstart_iterations=50, eval_every=1),
}
TOLERANCE = 1e-5
"""Of each loss at each of 50 iterations, relative where it is above 1. On one machine both roads agree to the bit:
clips go through the backbone in batches of the same size and are rounded to float16 on either."""


def cache_of(dataset: Dataset, root: Path, network: Backbone, **changes: Any) -> FeatureCache:
    """What `comix extract` makes of the videos, at sizes that a test can wait for."""
    decoder = choose_decoder("pyav")
    recipe = ExtractRecipe(
        backbone=network.recipe(),
        decoder={"name": decoder.name, "version": decoder.version},
        views=ViewPlan((), MIXES),
        **{"size": CLIP_SIZE, "bins": 4, **changes},
    )
    extract.run(recipe, dataset, network, decoder, root, reporter=Silent(), threads=1)
    return FeatureCache(root)


def losses_of(run: RunFolder) -> list[dict[str, float]]:
    """Every term of the loss at every iteration."""
    known = {"seed", "phase", "iteration", "scores", "infomax", "target_accuracy", "pseudo"}
    return [{name: value for name, value in line.items() if name not in known} for line in run.seed(0).metrics()]


def furthest(ours: RunFolder, theirs: RunFolder) -> float:
    """The largest difference of any term at any iteration, relative to terms above 1."""
    pairs = list(zip(losses_of(ours), losses_of(theirs), strict=True))
    assert all(one.keys() == other.keys() >= {"cls", "total"} for one, other in pairs)
    return max(abs(one[name] - other[name]) / max(1.0, abs(one[name])) for one, other in pairs for name in one)


@pytest.fixture
def cache(tiny: str, footage_dataset: Dataset, tmp_path: Path) -> FeatureCache:
    return cache_of(footage_dataset, tmp_path / "cache", load_backbone(NAME, "random"))


@pytest.mark.parametrize("name", list(RECIPES))
def test_both_roads_give_the_same_losses(
    cache: FeatureCache, footage_dataset: Dataset, tmp_path: Path, name: str
) -> None:
    recipe, frozen = RECIPES[name], {"freeze": True, "mixes": MIXES}
    on_cache = adapt.run(recipe, cache, tmp_path / "cached", reporter=Silent())
    from_frames = train_small(tmp_path / "frames", footage_dataset, recipe, frozen)
    assert len(losses_of(on_cache)) == 50
    # Neither road is at a standstill, which any two would share.
    classified = [line["cls"] for line in losses_of(on_cache)]
    assert max(classified) - min(classified) > 0.2
    assert furthest(on_cache, from_frames) < TOLERANCE
    for file in ("norm.safetensors", "seed-0/predictions.csv"):
        assert (on_cache.root / file).read_bytes() == (from_frames.root / file).read_bytes()


def test_it_would_be_seen_if_draws_or_rounding_differed(
    cache: FeatureCache, footage_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other mixes than the cache's, a fresh one each time, features that are not rounded: outside the tolerance."""
    recipe = replace(RECIPE, warmstart_iterations=2, iterations=6, eval_every=1)
    on_cache = adapt.run(recipe, cache, tmp_path / "cached", reporter=Silent())
    for changes in ({"mixes": MIXES, "mix_seed": 1}, {"mixes": None}):
        other = train_small(tmp_path / f"{changes}", footage_dataset, recipe, {"freeze": True, **changes})
        assert furthest(on_cache, other) > 1000 * TOLERANCE
    monkeypatch.setattr(Tensor, "half", lambda self: self)
    exact = train_small(tmp_path / "exact", footage_dataset, recipe, {"freeze": True, "mixes": MIXES})
    assert TOLERANCE < furthest(on_cache, exact) < 1e-2


@pytest.mark.weights
def test_i3d_with_its_kinetics_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone and the weights that are meant, on clips of 64 pixels, for which it need not be built otherwise."""
    if i3d_jax.package_file() is None:
        pytest.skip(f"no Kinetics I3D weights here: {i3d_jax.INSTALL}")
    monkeypatch.setenv("COMIX_HOME", str(tmp_path / "home"))
    size, few = 64, {"bins": 3, "min_frames": 20}
    small = replace(registry.BACKBONES["i3d"], input_size=size)
    monkeypatch.setattr(registry, "BACKBONES", {**registry.BACKBONES, "i3d": small})
    monkeypatch.setattr(backbone, "CLIP_SIZE", size)
    for number in range(8):
        domain, name = ("source", "target")[number // 4], ("go", "stop")[number % 2]
        draw_film(tmp_path / domain / name / f"{number}.mp4", 22 + number, seed=number)
    dataset, network = footage_of(tmp_path), load_backbone("i3d")
    on_disk = cache_of(dataset, tmp_path / "cache", network, size=size, **few)
    recipe = AdaptRecipe(
        warmstart_iterations=4, iterations=4, eval_every=1, batch_size=2, feature_norm="none", precision="fp32"
    )
    cached = adapt.run(recipe, on_disk, tmp_path / "cached", reporter=Silent())
    decoder = choose_decoder("pyav")
    video = VideoRecipe(
        backbone={"name": "i3d", "weights": network.weights_name, "sha256": network.weights_sha256},
        decoder={"name": decoder.name, "version": decoder.version},
        freeze=True,
        mixes=MIXES,
        size=size,
        **few,
    )
    engine = Engine(decoder, torch.device("cpu"), 1, Processes())
    frames = train(recipe, video, dataset, tmp_path / "frames", network, engine, reporter=Silent())
    assert furthest(cached, frames) < TOLERANCE

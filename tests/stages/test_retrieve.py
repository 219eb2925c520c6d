"""Retrieval on made-up caches: against plain cosines, of raw features and of heads, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.errors import ComixError, RunError
from comix_fast.stages import adapt, retrieve
from comix_fast.stages.runs import RunFolder

SHORT = AdaptRecipe(warmstart_iterations=10, iterations=5, batch_size=6, hidden_dim=16, eval_every=5)


def adapted(cache: Path, root: Path, recipe: AdaptRecipe = SHORT) -> RunFolder:
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent())


def test_neighbours_are_those_of_plain_cosines(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache())
    done = retrieve.run(cache, tmp_path / "found.json", k=3)
    means = {
        domain: {v.id: cache.features(v.id).astype(np.float64).mean(axis=0) for v in cache.videos(domain, "train")}
        for domain in ("source", "target")
    }
    for query in done.spaces["backbone"].queries:
        asked = means["target"][query.id]
        cosines = {
            name: asked @ vector / np.linalg.norm(asked) / np.linalg.norm(vector)
            for name, vector in means["source"].items()
        }
        best = sorted(cosines, key=lambda name: -cosines[name])[:3]
        assert [one.id for one in query.neighbours] == best
        assert [one.similarity for one in query.neighbours] == pytest.approx([cosines[name] for name in best], abs=1e-6)
    assert json.loads((tmp_path / "found.json").read_text())["transductive"] is True


def test_a_run_adds_its_heads_before_and_after(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    run = adapted(cache, tmp_path / "run", replace(SHORT, reverse=True, seed=4))
    done = retrieve.run(FeatureCache(cache), tmp_path / "found.json", from_run=run)
    assert list(done.spaces) == ["backbone", "source-only", "last", "selected"]
    assert done.names == {"source": "target domain", "target": "source domain"}
    assert json.loads((tmp_path / "found.json").read_text())["seed"] == 4
    with pytest.raises(RunError, match=r"(?s)holds no head.*the run's seeds: 4"):
        retrieve.run(FeatureCache(cache), tmp_path / "other.json", from_run=run, seed=0)
    assert not (run.root / "seed-0").exists()
    assert not (tmp_path / "other.json").exists()


def test_k_fits_the_gallery_unless_it_is_asked_for(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache(n_classes=1, per_class=3))
    assert retrieve.run(cache, tmp_path / "a.json").spaces["backbone"].k == 3
    own = retrieve.run(cache, tmp_path / "b.json", query="source", gallery="source").spaces["backbone"]
    assert (own.k, own.same_set) == (2, True)
    with pytest.raises(ComixError, match="k = 9, but the gallery has only 3 items"):
        retrieve.run(cache, tmp_path / "c.json", k=9)


def test_runs_of_other_videos_are_refused_though_the_recipe_is_the_same(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache("one"), tmp_path / "run")
    other = FeatureCache(make_cache("two", per_class=5))
    assert other.key == run.meta["cache_key"]
    with pytest.raises(RunError, match=r"(?s)features in .* not those of .*videos or classes differ"):
        retrieve.run(other, tmp_path / "found.json", from_run=run)
    with pytest.raises(RunError, match="recipe differ"):
        retrieve.run(FeatureCache(make_cache("three", mixes=1)), tmp_path / "found.json", from_run=run)
    assert not (tmp_path / "found.json").exists()


def test_what_holds_no_heads_says_so(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    bound = adapted(cache, tmp_path / "runs" / "bound", replace(SHORT, method="target-supervised"))
    with pytest.raises(RunError, match="keeps no heads"):
        retrieve.run(FeatureCache(cache), tmp_path / "found.json", from_run=bound)
    with pytest.raises(RunError, match=r"(?s)holds no run.*inside it: bound"):
        RunFolder(tmp_path / "runs")
    with pytest.raises(ComixError, match="no domain 'middle'"):
        retrieve.run(FeatureCache(cache), tmp_path / "found.json", query="middle")

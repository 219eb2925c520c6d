"""Maps of runs: beside retrieval and predictions, shared by runs, sampled, and where there is none."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import SHORT, adapted, edit_json, gathered, of_one

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.errors import CacheError, RunError
from comix_fast.report.gathering import MapAsked, embedding_map
from comix_fast.stages import retrieve
from comix_fast.stages.runs import RunFolder

WITH_MAP = MapAsked(k=3)


def map_of(run: Path, **asked: Any) -> dict[str, Any]:
    values = of_one(run, maps=replace(WITH_MAP, **asked))
    assert values["map_missing"] is None
    return dict(values["map"])


def space(values: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in values["spaces"] if one["name"] == name]
    return dict(found)


def test_a_map_of_every_space(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    shown = map_of(run)
    assert [one["name"] for one in shown["spaces"]] == ["backbone", "source-only", "last", "selected"]
    assert (shown["before"], shown["after"], shown["seed"]) == ("source-only", "last", 0)
    assert space(shown, "backbone")["label"].startswith("made-up features")
    assert Counter(video["role"] for video in shown["videos"]) == {"source": 18, "target": 18}
    for one in shown["spaces"]:
        assert len(one["x"]) == len(one["y"]) == 36
        assert max(max(one["x"]) - min(one["x"]), max(one["y"]) - min(one["y"])) == pytest.approx(1000, abs=1)
        assert min(*one["x"], *one["y"]) >= 0 and max(*one["x"], *one["y"]) <= 1000
    assert space(shown, "backbone")["predicted"] is None and space(shown, "backbone")["confidence"] is None
    assert all(1 / 3 <= value <= 1 for value in space(shown, "last")["confidence"])


@pytest.mark.parametrize("seed", [0, 1])
def test_heads_say_on_the_map_what_they_say_in_the_table(make_cache: MakeCache, tmp_path: Path, seed: int) -> None:
    run = adapted(make_cache(noise=4.0), tmp_path / "run")
    shown = map_of(run, seed=seed)
    with (run / f"seed-{seed}" / "predictions.csv").open(newline="") as file:
        told = {row["id"]: row for row in csv.DictReader(file)}
    for head in ("source-only", "last", "selected"):
        for video, predicted in zip(shown["videos"], space(shown, head)["predicted"], strict=True):
            if video["role"] == "target":
                assert told[video["id"]][head] == f"class {predicted}"
                assert told[video["id"]]["label"] == f"class {video['label']}"


def test_neighbours_are_those_of_retrieval(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache(shift=0.2))
    run = adapted(cache.path, tmp_path / "run")
    shares = map_of(run)["neighbours"]
    assert shares["k"] == 3
    folder = RunFolder(run)
    found = [
        retrieve.run(cache, tmp_path / "n.json", gallery=gallery, k=3, from_run=folder).spaces["last"].queries
        for gallery in ("source", "target")
    ]
    crossed = right = 0
    for across, within in zip(*found, strict=True):
        both = [(one.similarity, "s", one) for one in across.neighbours]
        both += [(one.similarity, "t", one) for one in within.neighbours]
        nearest = [one for _, domain, one in sorted(both, key=lambda one: -one[0])[:3] if domain == "s"]
        crossed += len(nearest)
        right += sum(bool(one.same_class) for one in nearest)
    assert shares["spaces"]["last"]["cross_share"] == pytest.approx(crossed / (3 * 18))
    assert shares["spaces"]["last"]["cross_right"] == pytest.approx(right / crossed)
    assert shares["spaces"]["last"]["cross_expected"] == pytest.approx(18 / 35)
    assert shares["spaces"].keys() == {"backbone", "source-only", "last", "selected"}


def test_too_many_videos_are_sampled_and_it_is_said(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    every, values = map_of(run), gathered(run, maps=replace(WITH_MAP, most=12))
    shown = values["runs"][0]["map"]
    assert Counter((video["role"], video["label"]) for video in shown["videos"]) == {
        (role, label): 2 for role in ("source", "target") for label in range(3)
    }
    assert len(space(shown, "last")["x"]) == len(space(shown, "last")["predicted"]) == 12
    assert shown["neighbours"] == every["neighbours"]
    said = dict(zip([v["id"] for v in every["videos"]], space(every, "last")["predicted"], strict=True))
    assert [said[video["id"]] for video in shown["videos"]] == space(shown, "last")["predicted"]
    assert any("12 of 36 videos" in note and "--map-videos 36" in note for note in values["notes"])


def test_the_same_seed_gives_the_same_map(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    assert map_of(run) == map_of(run, threads=3)
    other = map_of(run, seed=1)
    assert space(other, "backbone")["x"] != space(map_of(run), "backbone")["x"]


def test_runs_on_one_cache_share_what_they_can(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    first = adapted(cache, tmp_path / "a")
    second = adapted(cache, tmp_path / "b", replace(SHORT, lambda_teacher=0.5, teacher_temperature=1.0))
    loads, laid = [], []
    load, lay_out = embedding_map.load_banks, embedding_map.lay_out_all
    monkeypatch.setattr(embedding_map, "load_banks", lambda *a, **k: loads.append(1) or load(*a, **k))
    monkeypatch.setattr(embedding_map, "lay_out_all", lambda s, *a: laid.append(len(s)) or lay_out(s, *a))
    values = gathered(first, second, maps=WITH_MAP)
    assert len(loads) == 1
    assert len(laid) == 2 and laid[1] < laid[0]  # the backbone's and the shared warm-start's are there already
    one, two = (run["map"] for run in values["runs"])
    for name in ("backbone", "source-only"):
        assert space(one, name) == space(two, name)
    assert space(one, "last") != space(two, "last")


def test_a_reversed_run_maps_the_other_way(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    values = gathered(
        adapted(cache, tmp_path / "a"), adapted(cache, tmp_path / "b", replace(SHORT, reverse=True)), maps=WITH_MAP
    )
    one, two = ({v["id"]: v["role"] for v in run["map"]["videos"]} for run in values["runs"])
    assert one.keys() == two.keys()
    assert all(one[video] != two[video] for video in one)


def test_only_the_measured_target_videos_are_shown(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(test=True), tmp_path / "run")
    shown = map_of(run)["videos"]
    assert {v["id"].split("/")[1][:5] for v in shown if v["role"] == "target"} == {"test-"}
    assert len(shown) == 18 + 9


def test_a_graph_head_and_a_run_of_one_phase(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    graph = replace(SHORT, head="graph", hidden_dim=8, warmstart_iterations=5, iterations=5, seeds=1, lambda_tpl=0.1)
    assert map_of(adapted(cache, tmp_path / "graph", graph))["after"] == "last"
    alone = map_of(adapted(cache, tmp_path / "alone", replace(SHORT, lambda_teacher=0.0)))
    assert (alone["before"], alone["after"]) == ("backbone", "source-only")
    assert "each domain standardised by its own" in space(alone, "source-only")["label"]


def test_without_labels_there_is_a_map_without_rights(make_cache: MakeCache, tmp_path: Path) -> None:
    shown = map_of(adapted(make_cache(target_labels=[None] * 18), tmp_path / "run"))
    assert all((video["label"] is None) == (video["role"] == "target") for video in shown["videos"])
    assert shown["neighbours"]["spaces"]["last"]["cross_right"] is None


def test_no_map_says_why(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    asked = of_one(run)
    assert (asked["map"], asked["map_missing"]) == (None, "left out, as asked")
    bound = adapted(tmp_path / "cache", tmp_path / "bound", replace(SHORT, method="target-supervised"))
    assert "keeps no heads" in of_one(bound, maps=WITH_MAP)["map_missing"]
    shutil.move(tmp_path / "cache", tmp_path / "moved")
    gone = of_one(run, maps=WITH_MAP)
    assert gone["map"] is None and "--cache" in gone["map_missing"] and "comix extract" not in gone["map_missing"]
    assert gone["rows"] and gone["confusion"]
    assert map_of(run, cache=tmp_path / "moved")["after"] == "last"
    with pytest.raises(CacheError):
        of_one(run, maps=replace(WITH_MAP, cache=tmp_path / "nowhere"))


def test_what_was_asked_for_by_name_must_be_of_use(make_cache: MakeCache, tmp_path: Path) -> None:
    run, other = adapted(make_cache(), tmp_path / "run"), make_cache("other", per_class=5)
    with pytest.raises(RunError, match="not those of"):
        of_one(run, maps=replace(WITH_MAP, cache=other))
    with pytest.raises(RunError, match=r"(?s)seed 7 of .*takes one of those that are: 0, 1"):
        of_one(run, maps=replace(WITH_MAP, seed=7))
    second = adapted(other, tmp_path / "second")
    values = gathered(run, second, maps=replace(WITH_MAP, cache=other))
    assert "not those of" in values["runs"][0]["map_missing"] and values["runs"][1]["map"]


def test_a_run_from_frames_has_a_map_on_a_cache_of_its_backbone(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    graph = replace(SHORT, head="graph", hidden_dim=8, warmstart_iterations=5, iterations=0, seeds=1)
    run = adapted(cache, tmp_path / "run", graph)
    edit_json(run / "run.json", lambda meta: meta.update(cache="", cache_key="", video={"lr": 0.001, "bins": 4}))
    told = of_one(run, maps=WITH_MAP)
    # Without a backbone of its own, extract would refuse it as --weights.
    assert "trained no backbone" in told["map_missing"] and "--cache CACHE" in told["map_missing"]
    assert "extract" not in told["map_missing"]
    assert {row["name"]: row["value"] for row in told["recipe"]}["video.lr"] == "0.001"
    assert map_of(run, cache=cache)["after"] == "source-only"
    (run / "seed-0" / "source-only.backbone.safetensors").write_bytes(b"")
    assert f"extract with --weights {run}" in of_one(run, maps=WITH_MAP)["map_missing"]


def test_an_unfinished_run_has_no_map_until_a_seed_is_done(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    (run / "seed-0" / "predictions.csv").unlink()
    assert map_of(run)["seed"] == 1
    (run / "seed-1" / "predictions.csv").unlink()
    assert "no seed of" in of_one(run, maps=WITH_MAP)["map_missing"]


def test_a_damaged_head_costs_the_map_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    (run / "seed-0" / "last.safetensors").write_bytes(b"no tensors")
    values = of_one(run, maps=WITH_MAP)
    assert "last.safetensors can't be read" in values["map_missing"] and values["rows"]


def test_points_of_spaces_lie_alike(make_cache: MakeCache, tmp_path: Path) -> None:
    shown = map_of(adapted(make_cache(), tmp_path / "run"))
    first, *others = (
        np.stack([one["x"], one["y"]], axis=1) - np.mean([one["x"], one["y"]], axis=1) for one in shown["spaces"]
    )
    for points in others:
        # Turned as well as can be: what is left of the product is symmetric, and no mirror image lies closer.
        product = points.T @ first
        assert abs(product[0, 1] - product[1, 0]) < 0.02 * np.abs(product).max()
        assert np.trace(product) > 0

"""A grid of recipes: what may be varied, what is trained, what is chosen without labels, which points fail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Advance, Silent
from comix_fast.errors import ComixError
from comix_fast.stages import adapt, sweep
from comix_fast.stages.sweep import Swept, chosen, grid_names, label_free_score, parse_grid, points

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = AdaptRecipe(warmstart_iterations=20, iterations=10, batch_size=6, hidden_dim=8, eval_every=5)


class Shown(Silent):
    """Keeps what is said and what is trained."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bars: list[tuple[str, int]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        self.bars.append((what, total))
        yield lambda done: None


def swept(grid: Sequence[str], cache: Path, root: Path, reporter: Silent | None = None, **changes: Any) -> Swept:
    recipe = replace(SHORT, **changes)
    return sweep.run(recipe, parse_grid(grid), FeatureCache(cache), root, reporter=reporter or Silent())


def content(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "sweep.json").read_text())
    return found


def test_values_have_the_types_of_the_recipe() -> None:
    typed = ["lambda_bgm=0.01,1e-1", " --batch-size = 4, 8", "mixing=true,false", "feature-norm=none,domain", "lr=1"]
    grid = parse_grid(typed)
    assert grid == {
        "lambda_bgm": (0.01, 0.1),
        "batch_size": (4, 8),
        "mixing": (True, False),
        "feature_norm": ("none", "domain"),
        "lr": (1.0,),
    }
    for name, kind in (("lambda_bgm", float), ("batch_size", int), ("mixing", bool), ("lr", float)):
        assert {type(value) for value in grid[name]} == {kind}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "a sweep needs a grid"),
        (["lambda=0.1"], r"there is no 'lambda' to vary(?s:.*)vary head, .*lambda_bgm"),
        (["seed=0,1"], "there is no 'seed' to vary"),
        (["seeds=2"], "there is no 'seeds' to vary"),
        (["reverse=true"], "there is no 'reverse' to vary"),
        (["precision=fp32,bf16"], "there is no 'precision' to vary"),
        (["=0.1"], "there is no '' to vary"),
        (["lr"], r"--grid 'lr' has no values(?s:.*)write --grid lr=VALUE,VALUE"),
        (["lr="], "has no values"),
        (["lr= "], "has no values"),
        (["lr=0.1", "--lr=0.2"], "--grid lr is given twice(?s:.*)list all its values in one"),
        (["lr=0.1,0.2,0.10"], r"--grid 'lr=0.1,0.2,0.10' names a value twice"),
        (["lr=0.1,fast"], "--grid lr: 'fast' is not a number of type float"),
        (["lr=0.1,,0.2"], "--grid lr: '' is not a number of type float"),
        (["hidden_dim=0.5"], "--grid hidden_dim: '0.5' is not a number of type int"),
        (["mixing=yes"], "--grid mixing: 'yes' is neither true nor false"),
        (["feature_norm=layer"], "--grid feature_norm: 'layer' is none of source, domain, none"),
    ],
)
def test_grids_that_say_nothing_clear_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ComixError, match=message):
        parse_grid(texts)


def test_a_grid_may_vary_what_a_recipe_has_but_for_what_counts_runs() -> None:
    assert set(grid_names()) >= {"lr", "lambda_bgm", "lambda_tpl", "mixing", "dropout", "iterations", "hidden_dim"}
    assert not set(grid_names()) & {"seed", "seeds", "method", "reverse", "precision", "eval_every"}


def test_points_are_named_by_their_values() -> None:
    made = points(SHORT, parse_grid(["lambda_bgm=0.01,0.1", "mixing=true,false"]))
    assert list(made) == [
        "lambda_bgm=0.01,mixing=True",
        "lambda_bgm=0.01,mixing=False",
        "lambda_bgm=0.1,mixing=True",
        "lambda_bgm=0.1,mixing=False",
    ]
    assert made["lambda_bgm=0.01,mixing=False"] == replace(SHORT, lambda_bgm=0.01, mixing=False)


def test_points_no_run_can_have_and_too_many_are_refused() -> None:
    for text, message in (("lr=0", "--lr must be above 0"), ("lr=nan", "--lr must be above 0, not nan")):
        with pytest.raises(ComixError, match=message):
            points(SHORT, parse_grid([text]))
    many = parse_grid(
        [f"lr={','.join(str(n) for n in range(1, 65))}", f"temperature={','.join(map(str, range(1, 65)))}"]
    )
    assert len(points(SHORT, many)) == 4096
    with pytest.raises(ComixError, match=r"4,096 points of 2 seeds are 8,192 heads(?s:.*)at most 4,096"):
        points(replace(SHORT, seeds=2), many)


def test_a_grid_of_weights_warm_starts_once(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, shown = make_cache(), Shown()
    grid, easy = ["lambda_bgm=0.01,0.1", "lambda_tpl=0.01,0.1"], {"pseudo_threshold": 0.34, "seeds": 2}
    done = swept(grid, cache, tmp_path / "sweep", shown, **easy)
    assert shown.said == ["4 points, 2 seeds each: 8 heads"]
    assert shown.bars == [("2 heads: warm-start", 2 * 20), ("8 heads: adaptation", 8 * 10)]
    assert done.lost == ()
    assert [folder.root.parent for folder in done.folders] == [tmp_path / "sweep"] * 4
    for seed in range(2):
        starts = {(folder.root / f"seed-{seed}/source-only.safetensors").read_bytes() for folder in done.folders}
        ends = {(folder.root / f"seed-{seed}/last.safetensors").read_bytes() for folder in done.folders}
        assert (len(starts), len(ends)) == (1, 4)
    # A point is a run like any other.
    point = replace(SHORT, lambda_bgm=0.1, lambda_tpl=0.01, **easy)  # type: ignore[arg-type]
    alone = adapt.run(point, FeatureCache(cache), tmp_path / "alone", reporter=Silent())
    theirs = tmp_path / "sweep" / "lambda_bgm=0.1,lambda_tpl=0.01"
    for name in ("seed-0/last.safetensors", "seed-1/metrics.jsonl", "seed-1/predictions.csv", "results.json"):
        assert (alone.root / name).read_bytes() == (theirs / name).read_bytes()


def test_sweep_json_holds_the_grid_the_points_and_the_choice(make_cache: MakeCache, tmp_path: Path) -> None:
    root = tmp_path / "sweep"
    done = swept(["lr=0.01,0.0001", "mixing=true,false"], make_cache(), root, seeds=2)
    found = content(root)
    assert found == json.loads(json.dumps(sweep.to_json(done)))
    assert found["grid"] == {"lr": [0.01, 0.0001], "mixing": [True, False]}
    assert found["given_up"] == []
    assert [entry["values"] for entry in found["points"]] == [
        {"lr": rate, "mixing": mixing} for rate in (0.01, 0.0001) for mixing in (True, False)
    ]
    scores = {}
    for entry in found["points"]:
        assert entry["results"] == json.loads((root / entry["point"] / "results.json").read_text())
        best = []
        for seed in range(2):
            lines = (root / entry["point"] / f"seed-{seed}/metrics.jsonl").read_text().splitlines()
            adapting = [line for line in map(json.loads, lines) if line["phase"] == "adapt"]
            best.append(max(line["infomax"] for line in adapting))
        scores[entry["point"]] = sum(best) / 2
        assert label_free_score(entry["results"]) == pytest.approx(scores[entry["point"]])
    assert found["chosen_without_labels"] == max(scores, key=lambda name: scores[name])
    assert len(set(scores.values())) == 4


def test_target_labels_choose_no_point(make_cache: MakeCache, tmp_path: Path) -> None:
    found = []
    for name, labels in (("true", None), ("turned", [(c + 1) % 3 for c in range(3) for _ in range(6)])):
        swept(["lr=0.01,0.0001,0.03"], make_cache(name, target_labels=labels), tmp_path / f"sweep-{name}")
        found.append(content(tmp_path / f"sweep-{name}"))
    means = [[entry["results"]["rows"][-1]["last"]["mean"] for entry in one["points"]] for one in found]
    assert means[0] != means[1]
    assert found[0]["chosen_without_labels"] == found[1]["chosen_without_labels"]


def test_ties_go_to_the_earlier_point() -> None:
    def entry(name: str, *scores: float | None) -> dict[str, Any]:
        rows = [{"selected": {"score": [9.0]}}, {"selected": {"score": list(scores)}}]
        return {"point": name, "results": {"rows": rows} if scores else None}

    assert chosen([entry("a", 0.4, 0.6), entry("b", 0.5, 0.7), entry("c", 0.7, 0.5)]) == "b"
    assert chosen([entry("a"), entry("b", 0.1)]) == "b"
    assert chosen([entry("a"), entry("b", 0.1, None)]) is None
    assert chosen([]) is None


def test_a_point_that_diverges_is_given_up_and_the_others_finish(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(), tmp_path / "sweep"
    done = swept(["lr=0.01,1e6,0.003"], cache, root, seeds=2, feature_norm="none")
    assert {(one.folder.root.name, one.seed) for one in done.lost} == {("lr=1000000.0", 0), ("lr=1000000.0", 1)}
    found = content(root)
    assert [one["point"] for one in found["given_up"]] == ["lr=1000000.0"] * 2
    assert [one["seed"] for one in found["given_up"]] == [0, 1]
    assert all("not finite" in one["reason"] for one in found["given_up"])
    assert [entry["results"] is None for entry in found["points"]] == [False, True, False]
    assert found["chosen_without_labels"] in ("lr=0.01", "lr=0.003")
    alone = replace(SHORT, lr=0.003, seeds=2, feature_norm="none")
    theirs = adapt.run(alone, FeatureCache(cache), tmp_path / "alone", reporter=Silent())
    ours = root / "lr=0.003/seed-1/last.safetensors"
    assert ours.read_bytes() == (theirs.root / "seed-1/last.safetensors").read_bytes()


def test_when_every_point_diverges_that_is_said(make_cache: MakeCache, tmp_path: Path) -> None:
    done = swept(["lr=1e30,1e31"], make_cache(), tmp_path / "sweep", feature_norm="none")
    found = sweep.to_json(done)
    assert len(found["given_up"]) == 2
    assert found["chosen_without_labels"] is None
    assert [entry["results"] for entry in found["points"]] == [None, None]


def test_running_it_again_trains_nothing(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(), tmp_path / "sweep"
    swept(["lambda_bgm=0.01,0.1"], cache, root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in root.glob("*/seed-0/*.safetensors")}
    shown = Shown()
    swept(["lambda_bgm=0.01,0.1"], cache, root, shown)
    assert shown.bars == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(times) == 6
    # Another value is trained beside them, from the warm-start that is there.
    swept(["lambda_bgm=0.01,0.1,0.5"], cache, root, shown)
    assert shown.bars == [("seed 0: adaptation", 10)]
    assert len(content(root)["points"]) == 3


def test_a_grid_over_what_no_point_reads_is_refused() -> None:
    linear = replace(SHORT, head="linear", statistics="mean", lambda_bgm=0.0)
    with pytest.raises(ComixError, match=r"(?s)--grid hidden_dim would change nothing.*--head"):
        points(linear, {"hidden_dim": (8, 16)})
    # One point of another head reads it.
    assert len(points(linear, {"hidden_dim": (8, 16), "head": ("linear", "mlp")})) == 4

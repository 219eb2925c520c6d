"""`comix adapt` as a user types it: presets, heads, methods, and what they refuse."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import Ended, MakeCache
from comix_fast.commands.adapt import choose_recipe
from comix_fast.config import AdaptRecipe
from comix_fast.errors import ComixError
from comix_fast.presets import ADAPT_PRESETS, RECOMMENDED, adapt_preset, settled_iterations

SHORT = ("--warmstart-iterations", "8", "--iterations", "8", "--eval-every", "4", "--hidden-dim", "8", "--threads", "1")


def recipe_of(run: str) -> dict[str, Any]:
    """The recipe that a run was made with."""
    value: dict[str, Any] = json.loads(Path(run, "run.json").read_text())["recipe"]
    return value


def test_the_default_is_the_recommended_head(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache()
    ended = comix("adapt", "--from-cache", cache, *SHORT, "--seeds", "2")
    assert ended.code == 0, ended.err
    for text in ("standardised per domain", "chosen without labels", "oracle (peeks at target labels)"):
        assert text in ended.out
    report, line, predict = ended.out.splitlines()[-3:]
    assert line.startswith("or:   comix retrieve ")
    *words, run, html = shlex.split(line)
    assert html == "--html"
    assert report == f"next: comix report {run}"
    assert predict == f"or:   comix predict {run} VIDEOS"
    made = recipe_of(run)
    for name in ("head", "statistics", "lambda_bgm", "lambda_tpl", "lambda_teacher"):
        assert made[name] == getattr(RECOMMENDED, name), name
    found = comix(*words[2:], run, "-k", "3")
    assert found.code == 0, found.err
    for name in ("backbone", "source-only", "precision@3"):
        assert name in found.out
    # The same words find the run again; a preset's name does not make another of it.
    again = comix("adapt", "--from-cache", cache, *SHORT, "--seeds", "2", "--preset", "recommended", "--json")
    assert json.loads(again.out)["run"] == run
    assert "iterations/s" not in again.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--method", "dann"), "+ dann"),
        (("--method", "mcd", "--head", "mlp"), "+ mcd"),
        (("--method", "adamatch", "--no-bgm"), "+ adamatch"),
        (("--head", "mlp", "--statistics", "mean+max", "--lambda-teacher", "0.1"), "+ teacher"),
        (("--head", "graph", "--lambda-teacher", "0.1"), "+ teacher"),
        (("--preset", "ucf-hmdb-published"), "+ BGM + TPL"),
        (("--preset", "jester-published", "--no-tpl"), "+ BGM"),
    ],
)
def test_heads_and_methods_by_name(
    comix: Callable[..., Ended], make_cache: MakeCache, words: tuple[str, ...], name: str
) -> None:
    ended = comix("adapt", "--from-cache", make_cache(), *SHORT, "--seeds", "1", "--name", "r", *words, "--json")
    assert ended.code == 0, ended.err
    assert [row["name"] for row in json.loads(ended.out)["rows"]] == ["source-only", name]
    made = recipe_of("runs/r")
    assert made["head"] == (
        "graph" if "graph" in words or "--preset" in words else "mlp" if "mlp" in words else "linear"
    )


def test_the_teacher_needs_no_mixed_views(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache(mixes=0)
    assert comix("adapt", "--from-cache", cache, *SHORT, "--name", "default").code == 0
    taught = ("--lambda-teacher", "0.1")
    refused = comix("adapt", "--from-cache", cache, *SHORT, *taught, "--name", "r")
    assert refused.code == 2
    assert "no background-mixed views" in refused.err
    assert "--no-bgm" in refused.err
    assert comix("adapt", "--from-cache", cache, *SHORT, *taught, "--name", "r", "--no-bgm").code == 0
    assert comix("adapt", "--from-cache", cache, *SHORT, "--name", "d", "--method", "dann").code == 0


def test_an_ablation_is_of_the_published_form(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    words = ("adapt", "--from-cache", make_cache(), *SHORT, "--ablation", "--name", "a")
    ended = comix(*words, "--json")
    assert ended.code == 0, ended.err
    assert [Path(one["run"]).name for one in json.loads(ended.out)] == ["tcl", "bgm", "bgm-tpl", "target-supervised"]
    made, published = recipe_of("runs/a/bgm-tpl"), ADAPT_PRESETS["ucf-hmdb-published"]
    for name in ("head", "lambda_bgm", "lambda_tpl", "lambda_teacher"):
        assert made[name] == getattr(published, name), name
    refused = comix(*words[:-1], "b", "--preset", "recommended")
    assert refused.code == 2
    assert "--ablation is of CoMix's parts on its graph head" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "mcd"), "--method mcd needs features to move"),
        (("--method", "dann", "--source-only"), "--method contradicts --source-only and --target-supervised"),
        (("--method", "dann", "--target-supervised"), "--method contradicts --source-only"),
        (("--source-only", "--target-supervised"), "exclude each other"),
        (("--select-by", "luck"), "there is no label-free score 'luck'"),
        (("--statistics", "median"), "there is no statistic 'median'"),
        (("--lambda-bgm", "0.1", "--no-bgm"), "there are no two speeds to contrast"),
        (("--teacher-momentum", "1"), "--teacher-momentum must be in [0, 1), not 1"),
        (("--lambda-align", "-1"), "--lambda-align must not be below 0"),
        (("--preset", "ucf"), "there is no preset 'ucf'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    comix: Callable[..., Ended], make_cache: MakeCache, words: tuple[str, ...], message: str
) -> None:
    ended = comix("adapt", "--from-cache", make_cache(), *SHORT, "--name", "r", *words)
    assert ended.code == 2
    assert "error: " in ended.err
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not Path("runs/r").exists()


def test_names_that_are_not_there_are_usage_errors(comix: Callable[..., Ended]) -> None:
    for words in (("--method", "gan"), ("--head", "attention")):
        ended = comix("adapt", "--from-cache", "x", *words)
        assert ended.code == 2
        assert words[1] in ended.err


def test_options_are_laid_over_the_preset() -> None:
    assert choose_recipe(None, {}) == RECOMMENDED == choose_recipe("recommended", {"lr": None})
    assert choose_recipe("hmdb-ucf", {}) == RECOMMENDED
    assert choose_recipe(None, {"lr": 0.5, "head": "mlp"}) == AdaptRecipe(
        **(RECOMMENDED.to_json() | {"lr": 0.5, "head": "mlp"})
    )
    assert choose_recipe(None, {}, ablation=True) == ADAPT_PRESETS["ucf-hmdb-published"]
    assert choose_recipe("epic-published", {}, ablation=True) == ADAPT_PRESETS["epic-published"]
    assert choose_recipe(None, {}, source_only=True).method == "source-only"
    assert choose_recipe(None, {}, target_supervised=True).method == "target-supervised"
    assert choose_recipe(None, {"method": "mcd", "head": "mlp"}).method == "mcd"
    with pytest.raises(ComixError, match="--method mcd"):
        choose_recipe(None, {"method": "mcd"})
    with pytest.raises(ComixError, match="contradicts --source-only"):
        choose_recipe(None, {"method": "comix"}, source_only=True)


def test_published_presets_are_the_papers() -> None:
    found = {name: (one.lambda_bgm, one.lambda_tpl) for name, one in ADAPT_PRESETS.items() if "published" in name}
    assert found == {
        "ucf-hmdb-published": (0.1, 0.01),
        "hmdb-ucf-published": (0.1, 0.01),
        "jester-published": (0.1, 0.1),
        "epic-published": (0.01, 0.01),
    }
    for name in found:
        one = adapt_preset(name)
        assert (one.head, one.lambda_teacher, one.warmstart_iterations, one.iterations) == ("graph", 0.0, 4000, 10000)


@pytest.mark.parametrize(
    ("n_source", "n_target", "expected"),
    [(60, 60, (400, 500)), (1438, 840, (3954, 10000)), (1000, 200, (2750, 7000)), (200, 1000, (550, 7000))],
)
def test_open_iterations_are_the_published_epochs(n_source: int, n_target: int, expected: tuple[int, int]) -> None:
    settled = settled_iterations(RECOMMENDED, n_source, n_target)
    assert (settled.warmstart_iterations, settled.iterations) == expected
    published = ADAPT_PRESETS["ucf-hmdb-published"]
    assert settled_iterations(published, n_source, n_target) == published

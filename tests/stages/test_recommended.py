"""Stage two as recommended, and other methods than CoMix: end to end, cut anywhere, blind to target labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from builders import Interrupting, MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.errors import ComixError, RunError
from comix_fast.heads import LinearHead, TemporalGraph
from comix_fast.presets import RECOMMENDED
from comix_fast.selection import scores
from comix_fast.stages import adapt, measuring, retrieve, runs
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.stack import Stack

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = replace(
    RECOMMENDED, warmstart_iterations=12, iterations=12, eval_every=4, batch_size=6, hidden_dim=16, lambda_teacher=1.0
)
# CORAL's own weight depends on the features' scale: at 1 it is not finite on logits of these.
METHODS: dict[str, AdaptRecipe] = {
    "teacher": SHORT,
    "teacher without mixes": replace(SHORT, mixing=False),
    "comix, all terms": replace(SHORT, lambda_bgm=0.1, lambda_tpl=0.1),
    "dann": replace(SHORT, method="dann"),
    "mcd": replace(SHORT, method="mcd", head="mlp"),
    "adamatch": replace(SHORT, method="adamatch"),
    "adamatch, mlp": replace(SHORT, method="adamatch", head="mlp"),
    "coral": replace(SHORT, method="coral", lambda_align=1e-3),
    "mmd": replace(SHORT, method="mmd"),
    "self-training": replace(SHORT, method="self-training", pseudo_threshold=0.4),
}
WITH_STATE = ("teacher", "dann", "mcd", "adamatch", "adamatch, mlp")
"""Those whose objectives have parameters or buffers that a checkpoint must keep."""


def adapted(recipe: AdaptRecipe, cache: Path, root: Path) -> RunFolder:
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent())


def written(root: Path) -> dict[str, bytes]:
    """Everything below a run but run.json, which holds the path of the cache and the number of seeds."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != runs.RUN]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def heads(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in written(root).items() if name.endswith(".safetensors")}


def rows(run: RunFolder) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads((run.root / runs.RESULTS).read_text())["rows"]}


def far_apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return max(float((one[name] - other[name]).abs().max()) for name in one) > 1e-4


def test_the_recommended_recipe_learns_end_to_end(make_cache: MakeCache, tmp_path: Path) -> None:
    recipe = replace(
        RECOMMENDED, warmstart_iterations=100, iterations=60, eval_every=20, batch_size=6, seeds=2, lambda_teacher=1.0
    )
    run = adapted(recipe, make_cache(), tmp_path / "run")
    found = rows(run)
    assert list(found) == ["source-only", "+ teacher"]
    for row in found.values():
        assert len(row["last"]["accuracy"]) == len(row["selected"]["accuracy"]) == 2
        assert row["oracle"]["mean"] >= max(row["last"]["mean"], row["selected"]["mean"])
    assert found["+ teacher"]["last"]["mean"] > 0.85
    summary = json.loads((run.root / runs.RESULTS).read_text())
    assert summary["selection"] == "infomax on the target's unlabelled training videos"
    lines = run.seed(1).metrics()
    assert [line["iteration"] for line in lines] == [20, 40, 60, 80, 100, 20, 40, 60]
    assert all(line["teacher"] > 0 for line in lines if line["phase"] == "adapt")
    # A recipe without weight on CoMix's terms computes none of them.
    assert all(not line["bgm"] and not line["tpl"] for line in lines if line["phase"] == "adapt")
    head = run.load_head(0, runs.LAST)
    assert isinstance(head, LinearHead)
    assert head.in_dim == 5 * 24 == run.meta["in_dim"]
    seeds = [load_file(run.seed(seed).head_path(runs.LAST)) for seed in (0, 1)]
    assert far_apart(*seeds)
    start, last = (load_file(run.seed(0).head_path(name)) for name in (runs.SOURCE_ONLY, runs.LAST))
    assert far_apart(start, last)


def test_the_teacher_decides_bytes(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    found = [
        heads(adapted(recipe, cache, tmp_path / str(number)).root)
        for number, recipe in enumerate(
            (SHORT, replace(SHORT, lambda_teacher=0.1), replace(SHORT, teacher_momentum=0.5), METHODS["dann"])
        )
    ]
    lasts = [one["seed-0/last.safetensors"] for one in found]
    assert len(set(lasts)) == len(lasts)
    assert len({one["seed-0/source-only.safetensors"] for one in found}) == 1


@pytest.mark.parametrize("name", METHODS)
def test_every_method_adapts_on_a_pooled_head(make_cache: MakeCache, tmp_path: Path, name: str) -> None:
    recipe = METHODS[name]
    run = adapted(recipe, make_cache(), tmp_path / "run")
    titles = {"teacher without mixes": "+ teacher (plain clips)", "comix, all terms": "+ BGM + TPL + teacher"}
    title = titles.get(name, f"+ {recipe.method if recipe.method != 'comix' else name}")
    assert list(rows(run)) == ["source-only", title]
    start, last = (load_file(run.seed(0).head_path(one)) for one in (runs.SOURCE_ONLY, runs.LAST))
    assert far_apart(start, last)
    assert not (run.root / "seed-0" / runs.CHECKPOINTS).exists()


# Two banks are pooled, then each phase advances when it begins and at its three reports.
@pytest.mark.parametrize("name", WITH_STATE)
@pytest.mark.parametrize("after", range(1, 11))
def test_a_run_cut_at_any_report_ends_with_the_very_same_bytes(
    make_cache: MakeCache, tmp_path: Path, name: str, after: int
) -> None:
    cache, recipe = make_cache(), METHODS[name]
    whole = written(adapted(recipe, cache, tmp_path / "whole").root)
    with pytest.raises(KeyboardInterrupt):
        adapt.run(recipe, FeatureCache(cache), tmp_path / "cut", reporter=Interrupting(after))
    assert not (tmp_path / "cut" / runs.RESULTS).exists()
    assert written(adapted(recipe, cache, tmp_path / "cut").root) == whole
    assert {f"seed-0/{part}" for part in ("last.safetensors", "selected.safetensors", "metrics.jsonl")} <= whole.keys()
    assert "seed-0/oracle-adapt.json" in whole


class Cut:
    """Presses Ctrl-C instead of the call number `at`, counted from 0."""

    def __init__(self, at: int) -> None:
        self.left = at

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            if not self.left:
                self.left = -1
                raise KeyboardInterrupt
            self.left -= 1
            return function(*arguments, **named)

        return called


def cut_and_resumed(
    recipe: AdaptRecipe, cache: Path, root: Path, cut: Cut, owner: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes] | None:
    """What a run comes to that is stopped before some call and taken up again; None if it ended before that call."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, cut.before(getattr(owner, method)))
        try:
            adapt.run(recipe, FeatureCache(cache), root, reporter=Silent())
        except KeyboardInterrupt:
            pass
        else:
            return None
    return written(adapted(recipe, cache, root).root)


@pytest.mark.parametrize("name", WITH_STATE)
def test_a_run_cut_at_any_iteration_ends_with_the_very_same_bytes(
    make_cache: MakeCache, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    recipe = replace(METHODS[name], warmstart_iterations=3, iterations=7, eval_every=3)
    whole = written(adapted(recipe, cache, tmp_path / "whole").root)
    for at in range(10):
        found = cut_and_resumed(recipe, cache, tmp_path / f"cut-{at}", Cut(at), Stack, "step", monkeypatch)
        assert found == whole, f"cut at iteration {at}"
    assert cut_and_resumed(recipe, cache, tmp_path / "to-the-end", Cut(10), Stack, "step", monkeypatch) is None


@pytest.mark.parametrize("select_by", ["infomax", "snd"])
def test_a_run_cut_before_any_file_appears_ends_with_the_very_same_bytes(
    make_cache: MakeCache, tmp_path: Path, select_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A score that no step has selects the last one.
    without_a_score("snd", monkeypatch)
    cache, recipe = make_cache(), replace(SHORT, select_by=select_by)
    whole = written(adapted(recipe, cache, tmp_path / "whole").root)
    n_cuts = 0
    while found := cut_and_resumed(
        recipe, cache, tmp_path / f"cut-{n_cuts}", Cut(n_cuts), Path, "replace", monkeypatch
    ):
        assert found == whole, f"cut before file {n_cuts}"
        n_cuts += 1
    # run.json, the norm, six checkpoints, three heads, predictions and results, at the least.
    assert n_cuts > 13


@pytest.mark.parametrize("name", METHODS)
def test_target_labels_decide_no_byte_of_any_head(make_cache: MakeCache, tmp_path: Path, name: str) -> None:
    labels = [c for c in range(3) for _ in range(6)]
    shuffled = [labels[i] for i in torch.randperm(18, generator=torch.Generator().manual_seed(1)).tolist()]
    found = []
    for kind, given in (("true", labels), ("shuffled", shuffled), ("absent", [None] * 18)):
        run = adapted(METHODS[name], make_cache(kind, target_labels=given), tmp_path / f"run-{kind}")
        found.append(heads(run.root))
        assert (rows(run)["source-only"]["last"]["accuracy"] is None) == (kind == "absent")
    assert found[0] == found[1] == found[2]
    assert {"seed-0/last.safetensors", "seed-0/selected.safetensors"} <= found[0].keys()


@pytest.mark.parametrize("name", [*WITH_STATE, "comix, all terms"])
def test_seeds_together_are_each_alone(make_cache: MakeCache, tmp_path: Path, name: str) -> None:
    cache, recipe = make_cache(), METHODS[name]
    together = adapted(replace(recipe, seeds=3), cache, tmp_path / "together")
    for seed in range(3):
        alone = adapted(replace(recipe, seed=seed), cache, tmp_path / f"alone-{seed}")
        assert_same_heads(together, alone, [seed])
    assert far_apart(*(load_file(together.seed(seed).head_path(runs.LAST)) for seed in (0, 1)))


def assert_same_heads(one: RunFolder, other: RunFolder, seeds: Sequence[int], tolerance: float = 1e-5) -> None:
    for seed in seeds:
        for name in (runs.SOURCE_ONLY, runs.LAST):
            ours, theirs = (load_file(run.seed(seed).head_path(name)) for run in (one, other))
            for part, value in ours.items():
                torch.testing.assert_close(
                    value, theirs[part], atol=tolerance, rtol=0, msg=f"seed {seed}: {name} {part}"
                )


def test_methods_together_are_each_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    graph = AdaptRecipe(
        warmstart_iterations=12, iterations=12, eval_every=4, batch_size=6, hidden_dim=16, precision="fp32"
    )
    bound = replace(SHORT, method="target-supervised")
    recipes = {name.replace(", ", "-").replace(" ", "-"): recipe for name, recipe in METHODS.items()}
    recipes |= {"graph": graph, "bound": bound, "mean": replace(SHORT, statistics="mean", select_by="knn")}
    recipes = {name: replace(recipe, seeds=2) for name, recipe in recipes.items()}
    placed = {tmp_path / "all" / name: recipe for name, recipe in recipes.items()}
    done, lost = adapt.run_all(placed, FeatureCache(cache), reporter=Silent())
    assert lost == []
    for run in done:
        alone = adapted(recipes[run.root.name], cache, tmp_path / "alone" / run.root.name)
        assert list(rows(run)) == list(rows(alone))
        if run.root.name == "bound":
            assert (run.root / "seed-1/predictions.csv").read_bytes() == (
                alone.root / "seed-1/predictions.csv"
            ).read_bytes()
            continue
        assert_same_heads(run, alone, [0, 1], 1e-4 if run.root.name == "graph" else 1e-5)
    starts = [run.seed(0).head_path(runs.SOURCE_ONLY).read_bytes() for run in done if run.root.name in ("dann", "mmd")]
    assert starts[0] == starts[1]


def test_many_methods_cut_anywhere_end_with_the_very_same_bytes(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache())
    chosen = {"ours": SHORT, "dann": METHODS["dann"], "only": replace(SHORT, method="source-only")}
    placed = [{tmp_path / root / name: recipe for name, recipe in chosen.items()} for root in ("whole", "cut")]
    adapt.run_all(placed[0], cache, reporter=Silent())
    for after in (4, 6, 8):
        with pytest.raises(KeyboardInterrupt):
            adapt.run_all(placed[1], cache, reporter=Interrupting(after))
    adapt.run_all(placed[1], cache, reporter=Silent())
    assert written(tmp_path / "cut") == written(tmp_path / "whole")


def test_a_run_added_to_a_finished_one_has_its_own_oracle(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache())
    only = replace(SHORT, method="source-only")
    adapt.run_all({tmp_path / "r/ours": SHORT}, cache, reporter=Silent())
    adapt.run_all({tmp_path / "r/ours": SHORT, tmp_path / "r/only": only}, cache, reporter=Silent())
    adapt.run(only, cache, tmp_path / "alone", reporter=Silent())
    assert written(tmp_path / "r/only") == written(tmp_path / "alone")


@pytest.mark.parametrize("statistics", ["mean", RECOMMENDED.statistics])
def test_the_heads_of_a_linear_run_are_searched(make_cache: MakeCache, tmp_path: Path, statistics: str) -> None:
    cache = FeatureCache(make_cache(test=True))
    run = adapt.run(replace(SHORT, statistics=statistics), cache, tmp_path / "run", reporter=Silent())
    found = retrieve.run(cache, tmp_path / "found.json", k=3, from_run=RunFolder(run.root))
    assert set(found.spaces) == {"backbone", "source-only", "last", "selected"}
    value = json.loads((tmp_path / "found.json").read_text())
    assert len(value["spaces"]["last"]["queries"]) == 9
    assert value["spaces"]["last"] != value["spaces"]["backbone"]


NEW_FIELDS = (
    "head",
    "statistics",
    "lambda_teacher",
    "lambda_align",
    "teacher_temperature",
    "teacher_momentum",
    "prior_weight",
    "select_by",
)


def test_a_run_from_before_there_were_heads_is_a_graph_head(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    recipe = AdaptRecipe(warmstart_iterations=12, iterations=12, eval_every=4, batch_size=6, hidden_dim=16)
    whole = adapted(recipe, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        adapt.run(recipe, FeatureCache(cache), tmp_path / "old", reporter=Interrupting(6))
    path = tmp_path / "old" / runs.RUN
    meta = json.loads(path.read_text())
    meta["recipe"] = {name: value for name, value in meta["recipe"].items() if name not in NEW_FIELDS}
    assert len(meta["recipe"]) == len(recipe.to_json()) - len(NEW_FIELDS)
    path.write_text(json.dumps(meta))
    old = RunFolder(tmp_path / "old")
    assert old.recipe.head == "graph"
    assert isinstance(old.load_head(0, runs.SOURCE_ONLY), TemporalGraph)
    shown = Interrupting(2)
    with pytest.raises(KeyboardInterrupt):
        adapt.run(recipe, FeatureCache(cache), tmp_path / "old", reporter=shown)
    assert {line["phase"] for line in old.seed(0).metrics()} == {"warmstart", "adapt"}
    assert written(adapted(recipe, cache, tmp_path / "old").root) == written(whole.root)
    assert json.loads(path.read_text())["recipe"]["head"] == "graph"
    with pytest.raises(RunError, match=r"asked recipe\.head: linear, there graph"):
        adapted(SHORT, cache, tmp_path / "old")


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("head", ["linear", "mlp", "graph"])
def test_the_bound_says_what_it_predicts(make_cache: MakeCache, tmp_path: Path, test: bool, head: str) -> None:
    recipe = replace(SHORT, method="target-supervised", head=head, warmstart_iterations=60)  # type: ignore[arg-type]
    run = adapted(recipe, make_cache(test=test), tmp_path / "run")
    with (run.root / "seed-0/predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["id", "label", "last"]
    assert len(table) == (9 if test else 18)
    (row,) = rows(run).values()
    right = sum(line["last"] == line["label"] for line in table) / len(table)
    assert row["last"]["accuracy"] == [pytest.approx(right)]
    assert right > 0.6


def test_iterations_that_are_left_open_are_settled(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = FeatureCache(make_cache())
    for recipe, warmstart, iterations in (
        (RECOMMENDED, 400, 500),
        # 22 and 56 epochs of 18 videos, one at a time: few, but as many as are asked at the least.
        (replace(RECOMMENDED, batch_size=1), 400, 1008),
        (replace(RECOMMENDED, iterations=7), 400, 7),
    ):
        root = tmp_path / f"{warmstart}-{iterations}"
        with pytest.raises(KeyboardInterrupt):
            # Past the statistics of both lists, before the first iteration.
            adapt.run(recipe, cache, root, reporter=Interrupting(3))
        told = json.loads((root / runs.RUN).read_text())["recipe"]
        assert (told["warmstart_iterations"], told["iterations"]) == (warmstart, iterations)
        assert told["precision"] == "fp32"


def test_an_open_schedule_is_resumed_by_the_same_words(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, recipe = FeatureCache(make_cache()), replace(RECOMMENDED, batch_size=6, eval_every=200, lambda_teacher=1.0)
    with pytest.raises(KeyboardInterrupt):
        adapt.run(recipe, cache, tmp_path / "run", reporter=Interrupting(4))
    run = adapt.run(recipe, cache, tmp_path / "run", reporter=Silent())
    assert [line["iteration"] for line in run.seed(0).metrics()] == [200, 400, 200, 400, 500]
    settled = replace(recipe, warmstart_iterations=400, iterations=500)
    assert adapt.run(settled, cache, tmp_path / "run", reporter=Interrupting(3)).recipe == run.recipe


def test_an_unknown_score_is_refused_before_anything_is_written(make_cache: MakeCache, tmp_path: Path) -> None:
    with pytest.raises(ComixError, match=r"(?s)no label-free score 'best'.*select by entropy, infomax, .*knn"):
        adapted(replace(SHORT, select_by="best"), make_cache(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("score", ["entropy", "snd", "bnm", "mixval", "transfer-score", "knn", "dev"])
def test_the_step_is_selected_by_the_score_that_is_asked_for(make_cache: MakeCache, tmp_path: Path, score: str) -> None:
    run = adapted(replace(SHORT, select_by=score), make_cache(test=True), tmp_path / "run")
    lines = [line for line in run.seed(0).metrics() if line["phase"] == "adapt"]
    values = [line["scores"][score] for line in lines]
    assert None not in values
    best = lines[values.index(max(values))]
    selected = rows(run)["+ teacher"]["selected"]
    assert selected["iteration"] == [best["iteration"]]
    assert selected["score"] == [max(values)]
    assert selected["accuracy"] == [best["target_accuracy"]]
    with (run.root / "seed-0/predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    right = sum(line["selected"] == line["label"] for line in table) / len(table)
    assert right == pytest.approx(best["target_accuracy"])


def without_a_score(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes one label-free score away from every evaluation, as where a head has diverged."""
    monkeypatch.setattr(measuring, "scores", lambda evidence: {**scores(evidence), name: None})


def test_deep_embedded_validation_needs_held_out_videos(make_cache: MakeCache, tmp_path: Path) -> None:
    with pytest.raises(ComixError, match=r"(?s)no labelled source videos to hold out.*test list"):
        adapted(replace(SHORT, select_by="dev"), make_cache(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_the_score_the_last_step_is_selected(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_a_score("snd", monkeypatch)
    run = adapted(replace(SHORT, select_by="snd"), make_cache(), tmp_path / "run")
    assert rows(run)["+ teacher"]["selected"]["iteration"] == [12]
    assert rows(run)["+ teacher"]["selected"]["score"] == [None]
    last, selected = (run.seed(0).head_path(name).read_bytes() for name in (runs.LAST, runs.SELECTED))
    assert last == selected


def test_impossible_heads_are_refused_with_a_way_out() -> None:
    with pytest.raises(ComixError, match=r"(?s)--method mcd.*add --head mlp"):
        replace(SHORT, method="mcd")
    with pytest.raises(ComixError, match=r"(?s)--head linear has one row a video.*--head graph"):
        replace(SHORT, lambda_bgm=0.1, mixing=False)

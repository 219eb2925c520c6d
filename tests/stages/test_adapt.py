"""Stage two on made-up features: it learns, resumes, and never looks at target labels."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from builders import Interrupting, MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.errors import CacheError, ComixError, RunError
from comix_fast.stages import ablation, adapt
from comix_fast.stages.runs import RunFolder

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = AdaptRecipe(warmstart_iterations=30, iterations=20, batch_size=6, hidden_dim=16, eval_every=10)


def adapted(recipe: AdaptRecipe, cache: Path, root: Path, **more: object) -> RunFolder:
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent(), **more)  # type: ignore[arg-type]


def heads(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.safetensors"))}


def results(run: RunFolder) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads((run.root / "results.json").read_text())["rows"]}


def test_a_run_learns_and_says_how_each_step_was_chosen(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(
        replace(SHORT, warmstart_iterations=120, iterations=60, eval_every=30, seeds=2), make_cache(), tmp_path / "run"
    )
    rows = results(run)
    assert list(rows) == ["source-only", "+ BGM + TPL"]
    for row in rows.values():
        for choice in ("last", "selected", "oracle"):
            assert len(row[choice]["accuracy"]) == 2  # type: ignore[index]
        assert row["oracle"]["mean"] >= max(row["last"]["mean"], row["selected"]["mean"])  # type: ignore[index]
    # Classes are far apart within a domain: a head that has learnt anything is near the top.
    assert rows["+ BGM + TPL"]["last"]["mean"] > 0.85  # type: ignore[index]
    lines = [json.loads(text) for text in (run.root / "seed-1" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["iteration"]) for line in lines] == [
        *(("warmstart", iteration) for iteration in (30, 60, 90, 120)),
        *(("adapt", iteration) for iteration in (30, 60)),
    ]
    assert all(line["bgm"] > 0 for line in lines if line["phase"] == "adapt")
    with (run.root / "seed-0" / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 18
    right = sum(line["last"] == line["label"] for line in table) / len(table)
    assert right == pytest.approx(rows["+ BGM + TPL"]["last"]["accuracy"][0])  # type: ignore[index]


@pytest.mark.parametrize("after", [1, 3, 5, 6, 7])
def test_an_interrupted_run_ends_with_the_very_same_bytes(make_cache: MakeCache, tmp_path: Path, after: int) -> None:
    cache = make_cache()
    whole = adapted(SHORT, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        adapt.run(SHORT, FeatureCache(cache), tmp_path / "cut", reporter=Interrupting(after))
    cut = adapted(SHORT, cache, tmp_path / "cut")
    assert heads(cut.root) == heads(whole.root)
    for name in ("seed-0/metrics.jsonl", "seed-0/predictions.csv"):
        assert (cut.root / name).read_bytes() == (whole.root / name).read_bytes()
    assert results(cut) == results(whole)


def test_a_finished_run_is_not_done_again(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    run = adapted(SHORT, cache, tmp_path / "run")
    times = {path: path.stat().st_mtime_ns for path in (run.root / "seed-0").glob("*.safetensors")}
    again = adapted(replace(SHORT, seeds=2), cache, tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert (again.root / "seed-1" / "last.safetensors").exists()


def test_target_labels_decide_no_byte_of_any_head(make_cache: MakeCache, tmp_path: Path) -> None:
    labels = [c for c in range(3) for _ in range(6)]
    shuffled = [labels[i] for i in torch.randperm(18, generator=torch.Generator().manual_seed(1)).tolist()]
    assert shuffled != labels
    found = []
    for name, given in (("true", labels), ("shuffled", shuffled), ("absent", [None] * 18)):
        run = adapted(SHORT, make_cache(name, target_labels=given), tmp_path / f"run-{name}")
        found.append(heads(run.root))
        last = results(run)["+ BGM + TPL"]["last"]
        assert (last["accuracy"] is None) == (name == "absent")  # type: ignore[index]
    assert found[0] == found[1] == found[2]
    assert {"seed-0/last.safetensors", "seed-0/selected.safetensors"} <= found[0].keys()


def test_another_recipe_in_the_same_run_is_refused(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    adapted(SHORT, cache, tmp_path / "run")
    with pytest.raises(RunError, match=r"asked recipe.lr: 0.5, there 0.01"):
        adapted(replace(SHORT, lr=0.5), cache, tmp_path / "run")
    with pytest.raises(RunError, match=r"cache_key"):
        adapted(SHORT, make_cache("other", mixes=3), tmp_path / "run")


def test_other_labels_to_measure_with_are_another_run(make_cache: MakeCache, tmp_path: Path) -> None:
    bare = make_cache("cache", target_labels=[None] * 18)
    adapted(SHORT, bare, tmp_path / "run")
    shutil.rmtree(bare)
    with pytest.raises(RunError, match=r"dataset\.measured\.labels"):
        adapted(SHORT, make_cache("cache"), tmp_path / "run")


def test_leftovers_of_a_kill_do_not_block_a_run(make_cache: MakeCache, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.x.partial").write_text("{")
    run = adapted(replace(SHORT, momentum=0.0), make_cache(), tmp_path / "run")
    assert [path.name for path in run.root.glob(".*")] == []


def test_two_writers_of_a_run_are_one_too_many(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    with adapt.writing_to(tmp_path / "run"), pytest.raises(RunError, match="another process is writing"):
        adapted(SHORT, cache, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"mixing": False, "lambda_tpl": 0.0}, "+ TCL"),
        ({"lambda_tpl": 0.0}, "+ BGM"),
        ({"lambda_bgm": 0.0}, "+ TPL"),
        ({"method": "source-only"}, None),
    ],
)
def test_parts_can_be_switched_off(
    make_cache: MakeCache, tmp_path: Path, changes: dict[str, object], name: str | None
) -> None:
    recipe = replace(SHORT, **changes)  # type: ignore[arg-type]
    run = adapted(recipe, make_cache(), tmp_path / "run")
    assert list(results(run)) == ["source-only", *([name] if name else [])]
    losses = [json.loads(text) for text in (run.root / "seed-0/metrics.jsonl").read_text().splitlines()][-1]
    assert (losses.get("bgm", 0.0) > 0) == (recipe.lambda_bgm > 0 and name is not None)
    assert ("confident" in losses) == (recipe.lambda_tpl > 0 and name is not None)


def test_without_mixed_views_only_mixing_is_missed(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(mixes=0)
    with pytest.raises(CacheError, match=r"(?s)no background-mixed views.*--no-bgm"):
        adapted(SHORT, cache, tmp_path / "run")
    run = adapted(replace(SHORT, mixing=False), cache, tmp_path / "tcl")
    assert "+ TCL + TPL" in results(run)


def test_the_held_out_list_is_measured_where_there_is_one(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(SHORT, make_cache(test=True), tmp_path / "run")
    summary = json.loads((run.root / "results.json").read_text())
    assert not summary["transductive"]
    assert summary["measured_on"] == "9 videos of target domain: its test list"
    own = adapted(SHORT, make_cache("own"), tmp_path / "own-run")
    assert "transductive" in json.loads((own.root / "results.json").read_text())["measured_on"]


def test_reverse_adapts_from_target_to_source(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(replace(SHORT, reverse=True), make_cache(), tmp_path / "run")
    summary = json.loads((run.root / "results.json").read_text())
    assert (summary["source"], summary["target"]) == ("target domain", "source domain")
    unlabelled = make_cache("bare", target_labels=[None] * 18)
    with pytest.raises(CacheError, match="18 source videos have no label"):
        adapted(replace(SHORT, reverse=True), unlabelled, tmp_path / "bare-run")


@pytest.mark.parametrize("test", [False, True])
def test_the_bound_trains_on_target_labels(make_cache: MakeCache, tmp_path: Path, test: bool) -> None:
    recipe = replace(SHORT, method="target-supervised", warmstart_iterations=120)
    (row,) = results(adapted(recipe, make_cache(test=test, shift=30.0), tmp_path / "run")).values()
    assert row["name"] == "target-supervised"
    assert row["last"]["mean"] > 0.9  # type: ignore[index]
    shuffled = [c for _ in range(6) for c in range(3)]
    if not test:
        # Five folds predict labels that mean nothing at chance; learning by heart would be near 1.
        cache = make_cache("shuffled", target_labels=shuffled)
        (row,) = results(adapted(recipe, cache, tmp_path / "shuffled-run")).values()
        assert row["last"]["mean"] < 0.75  # type: ignore[index]


@pytest.mark.parametrize("batch_size", [15, 64])
def test_the_bound_takes_batches_as_large_as_its_folds(make_cache: MakeCache, tmp_path: Path, batch_size: int) -> None:
    # 18 videos in five folds: heads train on 14 or on 15, which may be all of a batch.
    recipe = replace(SHORT, method="target-supervised", batch_size=batch_size)
    (row,) = results(adapted(recipe, make_cache(), tmp_path / "run")).values()
    assert row["last"]["mean"] > 0.5  # type: ignore[index]


def test_the_bound_says_what_it_can_not_do(make_cache: MakeCache, tmp_path: Path) -> None:
    recipe = replace(SHORT, method="target-supervised")
    with pytest.raises(CacheError, match="every target video labelled"):
        adapted(recipe, make_cache("bare", target_labels=[None] * 18), tmp_path / "bare-run")
    with pytest.raises(CacheError, match="at least two target videos"):
        adapted(recipe, make_cache("one", n_classes=1, per_class=1), tmp_path / "one-run")


def test_few_videos_are_enough_for_every_part(make_cache: MakeCache, tmp_path: Path) -> None:
    done = ablation.run(SHORT, FeatureCache(make_cache(n_classes=2, per_class=1)), tmp_path / "run", reporter=Silent())
    assert [run.root.name for run in done] == ["tcl", "bgm", "bgm-tpl", "target-supervised"]


def test_an_ablation_warm_starts_once(make_cache: MakeCache, tmp_path: Path) -> None:
    done = ablation.run(SHORT, FeatureCache(make_cache()), tmp_path / "run", reporter=Silent())
    assert [run.root.name for run in done] == ["tcl", "bgm", "bgm-tpl", "target-supervised"]
    starts = {(run.root / "seed-0/source-only.safetensors").read_bytes() for run in done[:3]}
    assert len(starts) == 1
    alone = adapted(SHORT, tmp_path / "cache", tmp_path / "alone")
    theirs, ours = heads(done[2].root), heads(alone.root)
    assert theirs == ours


def test_a_loss_that_is_not_finite_stops_with_advice(make_cache: MakeCache, tmp_path: Path) -> None:
    recipe = replace(SHORT, lr=1e30, feature_norm="none")
    with pytest.raises(RunError, match=r"(?s)not finite after 10 iterations of warmstart \(seed 0\).*--lr"):
        adapted(recipe, make_cache(), tmp_path / "run")


def test_damaged_run_folders_are_errors_of_ours(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(SHORT, make_cache(), tmp_path / "run")
    head = run.root / "seed-0" / "last.safetensors"
    assert load_file(head)["gc3.bias"].shape == (3,)
    head.write_bytes(head.read_bytes()[:100])
    with pytest.raises(RunError, match=r"last\.safetensors can't be read"):
        run.load_head(0, "last")
    shutil.copytree(run.root, tmp_path / "newer")
    meta = json.loads((tmp_path / "newer" / "run.json").read_text())
    (tmp_path / "newer" / "run.json").write_text(json.dumps(meta | {"form": "9"}))
    with pytest.raises(RunError, match="update comix-fast"):
        RunFolder(tmp_path / "newer")
    with pytest.raises(RunError, match="holds no run"):
        RunFolder(tmp_path)


@pytest.mark.parametrize("field", ["lr", "batch_size", "temperature", "eval_every"])
def test_impossible_recipes_name_the_option(field: str) -> None:
    with pytest.raises(ComixError, match=f"--{field.replace('_', '-')} must be above 0, not 0"):
        replace(SHORT, **{field: 0})  # type: ignore[arg-type]

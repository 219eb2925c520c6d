"""Methods × seeds on one cache: every file, what is never done twice, what is given up."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comparing import HARD, Shown, accuracies, compared, content, edited_lists, lines, predictions, share_right

from builders import MakeCache
from comix_fast.cache.format import DATASET
from comix_fast.comparison import CSV_COLUMNS
from comix_fast.config import AdaptRecipe
from comix_fast.errors import CacheError, RunError
from comix_fast.files import write_json
from comix_fast.stages import adapt, compare
from comix_fast.stages.compared import METHODS, OURS, PUBLISHED, Method

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_method_and_every_file(make_cache: MakeCache, tmp_path: Path) -> None:
    root, shown = tmp_path / "c", Shown()
    done = compared(make_cache(**HARD), root, None, shown)
    assert (done.lost, done.left_out, done.notes) == ((), {}, ())
    assert "22 methods, 2 seeds each: 44 heads" in shown.said
    assert ("logistic regression", 6) in shown.bars
    found = content(root)
    assert [row["name"] for row in found["rows"]] == list(METHODS)
    assert found["baseline"] == "source-only"
    assert found["seeds"] == [0, 1]
    assert (found["source"], found["target"]) == ("source domain", "target domain")
    assert found["transductive"] is True
    assert found["n_labelled"] == 18
    assert found["recipes"]["logistic-mean-domain"] == {"statistics": "mean", "feature_norm": "domain"}
    assert found["recipes"]["mmd"]["warmstart_iterations"] == 6
    for row in found["rows"]:
        deterministic = "logistic" in row["name"]
        assert (row["deterministic"], row["n_seeds"]) == (deterministic, 0 if deterministic else 2)
        assert all(row[choice] is not None for choice in ("last", "selected", "oracle"))
        assert row["oracle"]["mean"] >= max(row["last"]["mean"], row["selected"]["mean"])
        assert (row["rank"] is None) == (row["name"] == "target-supervised")
    assert len({round(row["last"]["mean"], 6) for row in found["rows"]}) > 3
    texts = {form: (root / f"compare.{form}").read_text(encoding="utf-8") for form in ("csv", "md", "tex")}
    table = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert tuple(table[0]) == CSV_COLUMNS
    assert [row["method"] for row in table] == list(METHODS)
    for row, line in zip(found["rows"], table, strict=True):
        assert float(line["selected"]) == pytest.approx(100 * row["selected"]["mean"])
    assert all(f"| {method.title.split(',')[0]}" in texts["md"] for method in METHODS.values())
    assert texts["tex"].count(r" \\") == 1 + len(METHODS)
    study = content(root, "choosing.json")
    assert study == json.loads(json.dumps(done.study.to_json()))
    trained = [name for name, method in METHODS.items() if isinstance(method.how, AdaptRecipe)]
    assert study["methods"] == [name for name in trained if name != "target-supervised"]
    assert study["n_trainings"] == 21 * 2
    assert "| InfoMax" in (root / "choosing.md").read_text()
    assert all(path.is_file() for path in done.files)
    _agrees_with_its_runs(root, found)


def _agrees_with_its_runs(root: Path, found: dict[str, Any]) -> None:
    """Every number of the table, by plain loops over the runs' own files."""
    warm_alone = ("source-only-graph", "adabn", "source-only", "ours")
    for row in found["rows"]:
        name, folder = row["name"], root / row["name"]
        if row["deterministic"]:
            predicted = json.loads((folder / "predictions.json").read_text())["predicted"]
            labels = [int(one["label"].removeprefix("class ")) for one in predictions(root / "ours-teacher", 0)]
            right = sum(one == label for one, label in zip(predicted, labels, strict=True)) / len(labels)
            assert row["last"]["mean"] == row["oracle"]["mean"] == pytest.approx(right)
            continue
        last, selected, best = [], [], []
        for seed in found["seeds"]:
            rows = predictions(folder, seed)
            if name == "target-supervised":
                column = {"last": "last", "selected": "last"}
                best.append(share_right(rows, "last"))
            else:
                warm = name in warm_alone
                column = {"last": "source-only" if warm else "last", "selected": "source-only" if warm else "selected"}
                steps = lines(folder, seed, "warmstart" if warm else "adapt")
                best.append(max(step["target_accuracy"] for step in steps))
                assert share_right(rows, column["last"]) == pytest.approx(steps[-1]["target_accuracy"])
                if not warm:
                    scored = max(steps, key=lambda step: step["scores"][OURS.select_by])
                    assert share_right(rows, "selected") == pytest.approx(scored["target_accuracy"])
            last.append(share_right(rows, column["last"]))
            selected.append(share_right(rows, column["selected"]))
        for choice, values in (("last", last), ("selected", selected), ("oracle", best)):
            assert row[choice]["mean"] == pytest.approx(sum(values) / len(values)), (name, choice)


def test_running_it_again_does_nothing_and_more_seeds_add_to_it(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(**HARD), tmp_path / "c"
    names = "adabn,logistic-mean,comix-tpl,source-only,ours-teacher,target-supervised"
    compared(cache, root, names)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    made = [path for path in before if path.suffix == ".safetensors" and path.name != "norm.safetensors"]
    times = {path: path.stat().st_mtime_ns for path in [*made, root / "logistic-mean/predictions.json"]}
    assert len(made) == 2 * (1 + 3 + 1 + 3)
    shown = Shown()
    compared(cache, root, names, shown)
    assert [what for what, _ in shown.bars if what != "statistics over time"] == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    compared(cache, root, names, shown, seeds=3)
    assert "3 heads: warm-start" in [what for what, _ in shown.bars]
    assert "logistic regression" not in [what for what, _ in shown.bars]
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert content(root)["seeds"] == [0, 1, 2]
    assert {row["name"]: row["n_seeds"] for row in content(root)["rows"]}["ours-teacher"] == 3
    # The first seeds are what they were.
    assert (root / "ours-teacher/seed-0/metrics.jsonl").read_bytes() == before[
        root / "ours-teacher/seed-0/metrics.jsonl"
    ]


def test_another_cache_in_the_same_folder_is_never_read_as_this_one(make_cache: MakeCache, tmp_path: Path) -> None:
    root, kept = tmp_path / "c", tmp_path / "c/logistic-mean/predictions.json"
    easy, hard = make_cache("easy"), make_cache("hard", **HARD)
    edited_lists(hard, source={"name": "s", "train": json.loads((hard / DATASET).read_text())["source"]["train"][:-1]})
    compared(easy, root, "logistic-mean")
    first = json.loads(kept.read_text())
    compared(hard, root, "logistic-mean")
    second = json.loads(kept.read_text())
    assert first["identity"]["dataset"] != second["identity"]["dataset"]
    assert first["predicted"] != second["predicted"]
    kept.write_text("{")
    compared(hard, root, "logistic-mean")
    assert json.loads(kept.read_text()) == second
    compared(easy, root, "source-only")
    with pytest.raises(RunError, match=r"is another run; nothing was changed"):
        compared(hard, root, "source-only")


def test_without_target_labels_there_is_nothing_to_compare(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(target_labels=[None] * 18)
    with pytest.raises(CacheError, match=r"none of the 18 videos of target domain to measure on has a label"):
        compared(cache, tmp_path / "c", "ours-teacher")
    assert not (tmp_path / "c").exists()


def test_target_labels_change_what_is_measured_and_nothing_else(make_cache: MakeCache, tmp_path: Path) -> None:
    turned = [(c + 1) % 3 for c in range(3) for _ in range(6)]
    for name, labels in (("true", None), ("turned", turned)):
        compared(make_cache(name, target_labels=labels), tmp_path / f"c-{name}", "logistic-mean,ours-teacher", seeds=1)
    one, other = tmp_path / "c-true", tmp_path / "c-turned"
    for head in ("source-only", "last", "selected"):
        path = f"ours-teacher/seed-0/{head}.safetensors"
        assert (one / path).read_bytes() == (other / path).read_bytes()
    assert (one / "logistic-mean/predictions.json").read_text() == (
        other / "logistic-mean/predictions.json"
    ).read_text()
    assert accuracies(one, "last")["ours-teacher"] != accuracies(other, "last")["ours-teacher"]


def test_a_seed_given_up_is_said_and_the_rest_goes_on(make_cache: MakeCache, tmp_path: Path) -> None:
    root, shown = tmp_path / "c", Shown()
    wild = Method("wild", "wild", "baseline", replace(PUBLISHED, lr=1e30, feature_norm="none"))
    done = compared(make_cache(), root, [METHODS["logistic-mean"], wild, METHODS["source-only"]], shown)
    assert [(one.folder.root.name, one.seed) for one in done.lost] == [("wild", 0), ("wild", 1)]
    assert len(shown.warned) == 2
    assert "wild, seed 0, is given up: " in shown.warned[0]
    found = content(root)
    assert [(one["method"], one["seed"]) for one in found["given_up"]] == [("wild", 0), ("wild", 1)]
    rows = {row["name"]: row for row in found["rows"]}
    assert (rows["wild"]["n_seeds"], rows["wild"]["given_up"], rows["wild"]["last"]) == (0, 2, None)
    assert rows["source-only"]["n_seeds"] == 2
    assert done.study.methods == ("source-only",)


def test_runs_that_are_not_whole_are_refused_by_name(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(), tmp_path / "c"
    (root / "logistic-mean").mkdir(parents=True)
    (root / "logistic-mean/run.json").write_text("{}")
    with pytest.raises(RunError, match="logistic-mean is a run; nothing was changed"):
        compared(cache, root, "logistic-mean")
    with adapt.writing_to(root), pytest.raises(RunError, match="another process is writing to"):
        compared(cache, root, "ours-teacher")


@pytest.mark.parametrize("methods", ["logistic-mean", "ours-teacher", "ours-teacher,source-only"])
def test_a_comparison_is_held_until_its_tables_are_written(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: str
) -> None:
    cache, root, refused = make_cache(), tmp_path / "c", []

    def write(path: Path, value: Any) -> None:
        if path.name == "choosing.json":
            with pytest.raises(RunError, match=f"another process is writing to {root}") as caught:
                compared(cache, root, methods)
            refused.append(caught.value)
        write_json(path, value)

    monkeypatch.setattr(compare, "write_json", write)
    compared(cache, root, methods)
    assert len(refused) == 1
    assert (root / "choosing.md").is_file()
    # What is held goes with the command.
    monkeypatch.undo()
    compared(cache, root, methods)

"""What a page says of a run from its own files: tables, matrices, curves, recipe, of every kind of run."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import SHORT, adapted, curve, edit_json, gathered, of_one, terms

from builders import MakeCache
from comix_fast.errors import RunError
from comix_fast.intervals import Summary
from comix_fast.report.gathering import read_run
from comix_fast.report.gathering.curves import MOST_POINTS
from comix_fast.report.gathering.recipe_rows import differences
from comix_fast.report.page import embedded_json

LINES = "seed-0/metrics.jsonl"


@pytest.fixture
def run(make_cache: MakeCache, tmp_path: Path) -> Path:
    """A run of two seeds, its cache gone."""
    done = adapted(make_cache(noise=4.0), tmp_path / "runs" / "a")
    shutil.rmtree(tmp_path / "cache")
    return done


def test_the_table_is_that_of_the_run(run: Path) -> None:
    values, results = of_one(run), json.loads((run / "results.json").read_text())
    assert [row["name"] for row in values["rows"]] == ["source-only", "+ teacher"]
    for row, told in zip(values["rows"], results["rows"], strict=True):
        assert row["phase"] == told["phase"]
        for name, choice in row["choices"].items():
            assert choice["values"] == told[name]["accuracy"]
            assert choice["mean"] == told[name]["mean"]
            assert choice["half_width"] == told[name]["interval95"]
            assert choice["iterations"] == told[name]["iteration"]
            assert choice["text"] == Summary(choice["mean"], None, choice["half_width"], 2).text()
    assert (values["name"], values["method"], values["seeds"]) == ("a", "+ teacher", [0, 1])
    assert (values["heads"], values["before"], values["after"]) == (
        ["source-only", "last", "selected"], "source-only", "last",
    )  # fmt: skip
    assert values["measured_on"] == results["measured_on"]
    assert (values["n_labelled"], values["transductive"]) == (18, True)
    early, late = (row["choices"]["last"]["values"] for row in values["rows"])
    assert values["gain"]["mean"] == pytest.approx(sum(b - a for a, b in zip(early, late, strict=True)) / 2)


def test_matrices_are_counted_by_hand(run: Path) -> None:
    values = of_one(run)
    for place, seed in enumerate(values["seeds"]):
        with (run / f"seed-{seed}" / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for head in values["heads"]:
            pairs = values["confusion"]["counts"][head][place]
            assert pairs == sorted(pairs) and all(count for *_, count in pairs)
            counts = [[0] * 3 for _ in range(3)]
            for true, taken, count in pairs:
                counts[true][taken] = count
            for true, name in enumerate(values["classes"]):
                for taken, other in enumerate(values["classes"]):
                    expected = sum(row["label"] == name and row[head] == other for row in rows)
                    assert counts[true][taken] == expected
            wrong = sum(map(sum, counts)) - sum(counts[c][c] for c in range(3))
            assert wrong == sum(row["label"] != row[head] for row in rows)


def test_curves_say_what_was_used_and_what_only_measured(run: Path) -> None:
    values = of_one(run)
    assert terms(values, "warmstart", "loss") == ["cls"]  # the total is it once more
    assert terms(values, "adapt", "loss") == ["cls", "teacher", "total"]  # CoMix's own terms were left out
    logged = [json.loads(line) for line in (run / LINES).read_text().splitlines()]
    shown = curve(values, "adapt", "teacher")
    assert shown["used"] and [one["seed"] for one in shown["series"]] == [0, 1]
    assert shown["series"][0]["x"] == [10, 20]
    assert shown["series"][0]["y"] == pytest.approx([x["teacher"] for x in logged if x["phase"] == "adapt"], rel=1e-5)
    assert curve(values, "adapt", "infomax")["kind"] == "score" and curve(values, "adapt", "infomax")["used"]
    unused = {one["term"] for one in values["curves"] if not one["used"]}
    assert unused == {"target_accuracy", "coverage", "precision"}
    with_labels = {one["term"] for one in values["curves"] if one["measured_with_labels"]}
    assert with_labels == {"target_accuracy", "precision"}  # no label is looked at for coverage
    assert curve(values, "adapt", "coverage")["label"] == "would be labelled (p ≥ 0.7)"
    assert curve(values, "adapt", "precision")["label"] == "right among these (p ≥ 0.7)"
    assert curve(values, "adapt", "coverage")["series"][1]["y"][-1] == pytest.approx(
        json.loads((run / "seed-1/metrics.jsonl").read_text().splitlines()[-1])["pseudo"]["coverage"], rel=1e-5
    )


def test_a_loss_that_is_no_number_is_a_gap(run: Path) -> None:
    lines = (run / LINES).read_text().splitlines()
    lines[-1] = json.dumps(json.loads(lines[-1]) | {"teacher": float("nan"), "total": float("inf")})
    (run / LINES).write_text("\n".join(lines) + "\n")
    values = gathered(run)
    assert curve(values["runs"][0], "adapt", "teacher")["series"][0]["y"][-1] is None
    assert curve(values["runs"][0], "adapt", "total")["series"][0]["y"][-1] is None
    assert "NaN" not in embedded_json(values)


def test_long_curves_are_thinned(run: Path) -> None:
    line = json.loads((run / LINES).read_text().splitlines()[-1])
    many = [json.dumps(line | {"iteration": n, "cls": float(n)}) for n in range(1, 1002)]
    (run / LINES).write_text("\n".join(many) + "\n")
    values = of_one(run)
    series = curve(values, "adapt", "cls")["series"][0]
    assert series["x"] == series["y"]
    assert (series["x"][0], series["x"][-1]) == (1, 1001) and MOST_POINTS / 2 < len(series["x"]) <= MOST_POINTS
    assert any(f"at most {MOST_POINTS} evaluations" in note for note in values["notes"])


def test_runs_of_before_pseudo_labels_were_logged_say_so(run: Path) -> None:
    for path in run.glob("seed-*/metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in x.items() if k != "pseudo"}) + "\n" for x in lines))
    values = of_one(run)
    assert not terms(values, "adapt", "pseudo")
    assert any("pseudo-labels were not logged" in note for note in values["notes"])


def test_batches_of_pseudo_labels_are_shares_not_losses(make_cache: MakeCache, tmp_path: Path) -> None:
    values = of_one(adapted(make_cache(), tmp_path / "st", replace(SHORT, method="self-training", seeds=1)))
    assert terms(values, "adapt", "pseudo") == ["confident", "coverage", "precision"]
    assert "confident" not in terms(values, "adapt", "loss")
    assert curve(values, "adapt", "align")["label"] == "target pseudo-labels"
    assert curve(values, "adapt", "confident")["label"] == "labelled in training batches"
    assert values["rows"][1]["choices"]["last"]["half_width"] is None


def test_unfinished_seeds_are_left_out_and_named(run: Path) -> None:
    whole = of_one(run)
    (run / "seed-1" / "predictions.csv").unlink()
    (run / "results.json").unlink()
    values = of_one(run)
    assert values["seeds"] == [0]
    assert values["rows"][1]["choices"]["last"]["values"] == whole["rows"][1]["choices"]["last"]["values"][:1]
    assert len(values["confusion"]["counts"]["last"]) == 1
    assert [one["seed"] for one in curve(values, "adapt", "cls")["series"]] == [0, 1]
    (note,) = [note for note in values["notes"] if "1 of 2 seeds are not finished (1)" in note]
    assert "seed 1: adapt, step 20, loss" in note and "goes on with what was interrupted" in note
    (run / "seed-0" / "predictions.csv").unlink()
    values = of_one(run)
    assert (values["seeds"], values["rows"], values["heads"], values["after"]) == ([], [], [], None)
    assert values["confusion"] is None and values["curves"]


def test_a_run_of_one_phase(make_cache: MakeCache, tmp_path: Path) -> None:
    values = of_one(adapted(make_cache(), tmp_path / "one", replace(SHORT, lambda_teacher=0.0)))
    assert (values["heads"], values["before"], values["after"]) == (["source-only"], None, "source-only")
    assert [row["phase"] for row in values["rows"]] == ["warmstart"]
    assert values["gain"] is None


def test_the_target_supervised_bound(make_cache: MakeCache, tmp_path: Path) -> None:
    values = of_one(adapted(make_cache(), tmp_path / "bound", replace(SHORT, method="target-supervised")))
    assert [row["phase"] for row in values["rows"]] == ["supervised"]
    assert (values["heads"], values["before"], values["after"]) == (["last"], None, "last")
    assert len(values["confusion"]["counts"]["last"]) == 2
    assert not any("pseudo" in note for note in values["notes"])
    assert values["bound"] and values["head_names"]["last"] == "target-supervised"
    assert values["measured_on"] == (
        "18 videos of target domain: 5 folds, each predicted by a head trained on the labels of the others"
    )
    lists = adapted(make_cache("apart", test=True), tmp_path / "held", replace(SHORT, method="target-supervised"))
    assert of_one(lists)["measured_on"].endswith(
        "its test list; trained on the labels of target domain's training videos"
    )


def test_a_target_without_labels(make_cache: MakeCache, tmp_path: Path) -> None:
    values = of_one(adapted(make_cache(target_labels=[None] * 18), tmp_path / "run"))
    assert values["confusion"] is None
    assert values["rows"][1]["choices"]["last"]["values"] is None
    assert values["rows"][1]["choices"]["last"]["iterations"] == [20, 20]
    assert not terms(values, "adapt", "accuracy")
    assert curve(values, "adapt", "coverage")["series"]
    assert "no labels" in values["measured_on"]


def test_some_labels_are_counted_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(target_labels=[0, None] * 9)
    values = of_one(adapted(cache, tmp_path / "run"))
    for pairs in values["confusion"]["counts"]["last"]:
        assert sum(count for *_, count in pairs) == 9
        assert {true for true, *_ in pairs} == {0}


def test_an_imported_run_has_a_head_and_nothing_measured(run: Path) -> None:
    for seed in (0, 1):
        for path in (run / f"seed-{seed}").iterdir():
            if path.name != "last.safetensors":
                path.unlink()
    (run / "seed-1" / "last.safetensors").unlink()
    edit_json(run / "run.json", lambda meta: meta["recipe"].update(iterations=None, seeds=1))
    edit_json(
        run / "run.json",
        lambda meta: meta.update(cache="", cache_key="", n_labelled=0, notes=["imported"], imported={}),
    )
    values = of_one(run)
    assert (values["seeds"], values["heads"], values["before"], values["after"]) == ([0], ["last"], None, "last")
    assert (values["rows"], values["curves"], values["confusion"]) == ([], [], None)
    assert values["notes"] == ["imported"]
    assert values["imported"] and values["head_names"]["last"] == "the imported head"
    assert "imported" in values["measured_on"] and "predictions.csv" not in values["measured_on"]


def test_the_recipe_has_every_field_once_and_the_features(run: Path) -> None:
    rows = of_one(run)["recipe"]
    shown = {row["name"]: row["value"] for row in rows}
    assert len(shown) == len(rows)
    assert shown.keys() >= SHORT.to_json().keys()
    assert (shown["lambda_teacher"], shown["mixing"], shown["reverse"]) == ("0.1", "yes", "no")
    assert (shown["backbone.name"], shown["clips.bins"], shown["target"]) == ("made-up", "16", "target domain")
    groups = [row["group"] for row in rows]
    assert [g for n, g in enumerate(groups) if g not in groups[:n]] == [
        "method", "head", "schedule", "selection", "features",
    ]  # fmt: skip


def test_differences_are_the_fields_that_runs_do_not_share(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    named = [
        adapted(cache, tmp_path / "a" / "run"),
        adapted(cache, tmp_path / "b" / "run", replace(SHORT, lambda_teacher=0.3, seed=5)),
        adapted(cache, tmp_path / "c" / "other", replace(SHORT, lambda_teacher=0.3, reverse=True)),
    ]
    values = gathered(*named)
    found = {field["name"]: field["values"] for field in values["differences"]["fields"]}
    assert found["lambda_teacher"] == ["0.1", "0.3", "0.3"]
    assert found["seed"] == ["0", "5", "0"]
    assert found["target"] == ["target domain", "target domain", "source domain"]
    rows = [{row["name"]: row["value"] for row in run["recipe"]} for run in values["runs"]]
    by_hand = {name for table in rows for name in table if len({other.get(name) for other in rows}) > 1}
    assert found.keys() == by_hand
    assert values["differences"]["n_same"] == len(rows[0]) - len(by_hand)
    assert [run["name"] for run in values["runs"]] == [str(path) for path in named]  # two are called "run"
    assert gathered(named[0])["differences"]["fields"] == []


def test_a_field_that_only_some_have_is_a_dash() -> None:
    one, two = [{"name": "lr", "value": "1"}], [{"name": "lr", "value": "1"}, {"name": "video.lr", "value": "2"}]
    assert differences([one, two]) == {"fields": [{"name": "video.lr", "values": ["—", "2"]}], "n_same": 1}


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        (1, "nonsense", "names 1 classes that the run does not have: nonsense"),
        (2, "\x1b[31m", r"do not have|does not have: \\x1b\[31m"),
        (3, "", r"does not have: \(empty\)"),
    ],
)
def test_predictions_of_other_classes_name_the_file(run: Path, column: int, cell: str, said: str) -> None:
    path = run / "seed-1" / "predictions.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[4][column] = cell
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(RunError, match=f"seed-1/predictions.csv.*{said}"):
        read_run(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no table of predictions"),
        ("id,label,last\nx\n", "row 2 has 1 cells, not 3"),
        ("id,label,last\nx,class 0,class 0,class 1\n", "row 2 has 4 cells"),
        ("id,label,last,last\n", "no table of predictions: its columns are id, label, last, last"),
        ("video,label\n", "no table of predictions"),
        ('id,label,last\n"x,class 0', "can't be read"),
    ],
)
def test_tables_that_are_none_name_the_file(run: Path, text: str, said: str) -> None:
    (run / "seed-0" / "predictions.csv").write_text(text)
    with pytest.raises(RunError, match=f"seed-0/predictions.csv.*{said}"):
        read_run(run)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5", "it is no object"),
        ('{"phase": "pause"}', "its phase is 'pause'"),
        ('{"phase": "adapt", "iteration": "9"}', "no whole number of iterations"),
        ('{"phase": "adapt", "iteration": 9}', "target_accuracy is no share"),
        ('{"phase": "adapt", "iteration": 9, "target_accuracy": NaN}', "target_accuracy is no share"),
        ('{"phase": "adapt", "iteration": 9, "target_accuracy": 1, "cls": "low"}', "its 'cls' is no number"),
        ('{"phase": "adapt", "iteration": 9, "target_accuracy": 1, "scores": 3}', "its scores are no numbers"),
        ('{"phase": "adapt", "iteration": 9, "target_accuracy": 1, "pseudo": {"coverage": []}}', "pseudo are no"),
    ],
)
def test_metrics_that_are_none_name_file_and_line(run: Path, line: str, said: str) -> None:
    with (run / LINES).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=rf"seed-0/metrics.jsonl, line 5: .*{said}"):
        read_run(run)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": []}, {"classes": ["a", "a"]}, {"classes": "abc"}, {"source": 3}, {"dataset": {}},
        {"dataset": {"source": {}, "target": {}, "measured": {}}}, {"warnings": None}, {"in_dim": "wide"},
        {"features": 3}, {"transductive": "no"},
    ],
)  # fmt: skip
def test_a_run_that_lacks_what_a_page_says_is_refused(run: Path, change: dict[str, object]) -> None:
    edit_json(run / "run.json", lambda meta: meta.update(change))
    with pytest.raises(RunError, match=r"runs/a/run.json"):
        read_run(run)


@pytest.mark.parametrize("change", [{"seeds": 10**9}, {"seeds": 1.5}, {"select_by": ["infomax"]}])
def test_recipes_that_no_run_has_are_refused(run: Path, change: dict[str, object]) -> None:
    edit_json(run / "run.json", lambda meta: meta["recipe"].update(change))
    with pytest.raises(RunError, match=r"runs/a/run.json"):
        read_run(run)

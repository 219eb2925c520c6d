"""What a comparison reads of its runs: the videos that count, files that do not fit, names of any kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comparing import HARD, Shown, accuracies, compared, content, edited_lists, predictions, share_right

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.cache.format import DATASET
from comix_fast.errors import RunError
from comix_fast.stages import adapt
from comix_fast.stages.adapt import Lost
from comix_fast.stages.compare_reading import measured_videos, trained_result
from comix_fast.stages.runs import RunFolder

pytestmark = pytest.mark.usefixtures("one_thread")


def test_in_reverse_and_held_out(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(test=True, **HARD), tmp_path / "c"
    names = "logistic-mean-max-std-domain,source-only,ours-teacher,target-supervised"
    compared(cache, root, names, reverse=True, seeds=1)
    found = content(root)
    assert (found["source"], found["target"]) == ("target domain", "source domain")
    assert (found["transductive"], found["n_labelled"]) == (False, 9)
    assert [row["id"] for row in predictions(root / "ours-teacher", 0)] == [
        f"source/test-{c}-{n}" for c in range(3) for n in range(3)
    ]
    assert found["recipes"]["ours-teacher"]["reverse"] is True
    assert "held out (test list)" in (root / "compare.md").read_text()


def test_only_labelled_videos_count_and_the_bound_needs_all(make_cache: MakeCache, tmp_path: Path) -> None:
    labels = [None if n % 3 == 0 else c for c in range(3) for n in range(6)]
    root, shown = tmp_path / "c", Shown()
    compared(
        make_cache(target_labels=labels, **HARD),
        root,
        "logistic-mean,source-only,ours-teacher,target-supervised",
        shown,
    )
    found = content(root)
    assert found["n_labelled"] == 12
    assert [row["name"] for row in found["rows"]] == ["logistic-mean", "source-only", "ours-teacher"]
    assert list(found["left_out"]) == ["target-supervised"]
    assert any(line.startswith("left out: target-supervised: it needs") for line in shown.said)
    assert "left out: target-supervised" in (root / "compare.md").read_text()
    for choice, column in (("last", "last"), ("selected", "selected")):
        shares = [share_right(predictions(root / "ours-teacher", seed), column) for seed in (0, 1)]
        assert accuracies(root, choice)["ours-teacher"] == pytest.approx(sum(shares) / 2)


def test_a_method_that_loses_one_seed_keeps_the_others(
    make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, root, run_all = make_cache(**HARD), tmp_path / "c", adapt.run_all

    def losing(*arguments: Any, **where: Any) -> tuple[list[RunFolder], list[Lost]]:
        folders, lost = run_all(*arguments, **where)
        assert lost == []
        # What a seed given up leaves behind: a folder without predictions.
        (folders[-1].root / "seed-0/predictions.csv").unlink()
        return folders, [Lost(folders[-1], 0, RunError("the loss is not finite"))]

    monkeypatch.setattr(adapt, "run_all", losing)
    compared(cache, root, "source-only,ours-teacher")
    rows = {row["name"]: row for row in content(root)["rows"]}
    assert (rows["ours-teacher"]["n_seeds"], rows["ours-teacher"]["given_up"]) == (1, 1)
    assert rows["ours-teacher"]["last"]["mean"] == pytest.approx(
        share_right(predictions(root / "ours-teacher", 1), "last")
    )
    assert "given up: ours + teacher, 1 of 2 seeds" in content(root)["notes"]
    assert content(root, "choosing.json")["n_trainings"] == 3


def test_files_of_a_run_that_do_not_fit_are_named(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = FeatureCache(make_cache()), tmp_path / "c"
    done = compared(cache.path, root, "source-only,ours-teacher")
    (ours,) = (method for method in done.methods if method.name == "ours-teacher")
    folder, measured = RunFolder(root / "ours-teacher"), measured_videos(cache, reverse=False)
    whole = trained_result(ours, folder, (0, 1), measured)
    assert {frozenset(cells) for cells in whole.seeds.values()} == {frozenset(("last", "selected", "oracle"))}
    oracle, table = root / "ours-teacher/seed-1/oracle-adapt.json", root / "ours-teacher/seed-1/predictions.csv"
    kept, text = json.loads(oracle.read_text()), table.read_text()
    oracle.write_text(json.dumps({**kept, "phase": "warmstart"}))
    without = trained_result(ours, folder, (0, 1), measured)
    assert {frozenset(cells) for cells in without.seeds.values()} == {frozenset(("last", "selected"))}
    assert without.seeds[0]["last"] == whole.seeds[0]["last"]
    for written, message in (
        ({"phase": "adapt"}, "oracle-adapt.json holds no predictions"),
        ({**kept, "predicted": [0]}, "1 predictions for 18 measured videos"),
    ):
        oracle.write_text(json.dumps(written))
        with pytest.raises(RunError, match=message):
            trained_result(ours, folder, (0, 1), measured)
    oracle.unlink()
    for written, message in (
        (text.replace("target/0-0", "target/0-9"), "lists other videos than the cache"),
        (text.replace(",last,", ",first,"), "has no column 'last'"),
        (text.replace(",class 0,class", ",class 0,klass"), "can't be read: KeyError"),
        (text.rsplit(",", 1)[0], "can't be read: IndexError"),
        ("", "can't be read"),
    ):
        assert written != text
        table.write_text(written)
        with pytest.raises(RunError, match=message):
            trained_result(ours, folder, (0, 1), measured)
    table.unlink()
    with pytest.raises(RunError, match=r"predictions.csv is missing(?s:.*)run it again"):
        trained_result(ours, folder, (1,), measured)


def test_class_and_domain_names_act_nowhere_as_markup(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(), tmp_path / "c"
    lists = json.loads((cache / DATASET).read_text())
    names = ['a,"b"\nc', r"50 % & $x_1$ \end{table}", "[bold]*|`"]
    edited_lists(cache, classes=names, target={**lists["target"], "name": r"T_1 & 50% | \input{x} [red]"})
    done = compared(cache, root, "logistic-mean,source-only,ours-teacher", seeds=1)
    assert done.table.comparison.classes == tuple(names)
    assert accuracies(root, "last")["ours-teacher"] == pytest.approx(
        share_right(predictions(root / "ours-teacher", 0), "last")
    )
    text = (root / "compare.tex").read_text()
    assert r"T\_1 \& 50\% \textbar{} \textbackslash{}input\{x\} {[}red{]}" in text
    assert r"\input{x}" not in text
    assert r"T\_1 \& 50% \| \\input{x} \[red\]" in (root / "compare.md").read_text()

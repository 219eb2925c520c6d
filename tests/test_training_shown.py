"""What a terminal shows of a run beside its table: curves, confusions, what to type next."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from comix_fast.config import AdaptRecipe
from comix_fast.confusion_text import ConfusionLines
from comix_fast.curves_text import CurveLines, run_curves
from comix_fast.errors import RunError
from comix_fast.next_steps import NextSteps
from comix_fast.presets import RECOMMENDED
from comix_fast.stages.confusions import Confusion, confusion, read_predictions
from comix_fast.stages.curves import Curve, loss_terms, mean_curves, worth_showing
from comix_fast.stages.runs import RunFolder

HOSTILE = "[b]<img>\x1b[31m\n[/nope]"


def shown(rendered: RenderableType, width: int = 100, encoding: str = "utf-8") -> list[str]:
    """The lines of a terminal of this width."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    Console(file=file, width=width, highlight=False, emoji=False, force_terminal=False).print(rendered)
    file.flush()
    return [line.rstrip() for line in raw.getvalue().decode(encoding).splitlines()]


def line_of(phase: str, iteration: int, accuracy: float | None = 0.5, **terms: float) -> dict[str, Any]:
    head = {"seed": 0, "phase": phase, "iteration": iteration}
    pseudo = {"threshold": 0.7, "coverage": 0.5, "precision": None, "n_confident": 1, "n_labelled": 0}
    return {**head, **terms, "infomax": 1.0, "scores": {"infomax": 1.0}, "target_accuracy": accuracy, "pseudo": pseudo}


def write_run(root: Path, lines: dict[int, list[dict[str, Any]]], recipe: AdaptRecipe = RECOMMENDED) -> RunFolder:
    recipe = AdaptRecipe(**{**recipe.to_json(), "seeds": len(lines)})
    meta = {"cache_key": "0" * 64, "dataset": {}, "recipe": recipe.to_json(), "classes": ["hug", "push"], "in_dim": 4}
    run = RunFolder.make(root, meta)
    for seed, of in lines.items():
        run.seed(seed).root.mkdir(exist_ok=True)
        run.seed(seed).keep_metrics(of)
    return run


def test_curves_are_means_over_seeds(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        {
            0: [
                line_of("warmstart", 5, 0.2, cls=4.0, total=4.0),
                line_of("adapt", 3, 0.6, cls=1.0, tpl=0.0, total=2.0),
            ],
            1: [line_of("warmstart", 5, 0.4, cls=2.0, total=2.0)],
        },
    )
    curves = mean_curves(run)
    assert list(curves) == ["cls", "tpl", "total", "target_accuracy"]
    assert curves["cls"] == {"warmstart": Curve((5,), (3.0,)), "adapt": Curve((3,), (1.0,))}
    assert curves["target_accuracy"]["warmstart"].values == pytest.approx((0.3,))
    # A term that is 0 throughout was not minimised.
    assert worth_showing(curves) == ["cls", "total", "target_accuracy"]
    assert set(loss_terms(line_of("adapt", 1, cls=1.0, total=1.0))) == {"cls", "total"}


def test_a_total_that_is_its_only_term_is_not_said_twice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {0: [line_of("warmstart", n, None, cls=4.0 - n, total=4.0 - n) for n in (1, 2)]})
    lines = shown(run_curves(run))
    assert lines == ["training curves: warm-start", "cls  3 █▁ 2"]


def two_phases(n: int = 8) -> dict[str, dict[str, Curve]]:
    steps = tuple(range(1, n + 1))
    down = Curve(steps, tuple(float(n - step) for step in range(n)))
    rising = Curve(steps, tuple(step / n for step in steps))
    return {
        "cls": {"warmstart": down, "adapt": Curve(steps, (1.0,) * n)},
        HOSTILE: {"adapt": Curve(steps, tuple(1000.0 * step for step in steps))},
        "target_accuracy": {"warmstart": rising, "adapt": rising},
    }


def test_a_line_for_each_curve_its_phases_apart() -> None:
    title, first, hostile, accuracy = shown(CurveLines("training curves", two_phases()), 120)
    assert title == "training curves: warm-start │ adaptation"
    assert [len(line.split(" │ ")) for line in (first, hostile, accuracy)] == [2, 2, 2]
    assert len({line.index("│") for line in (first, hostile, accuracy)}) == 1
    # One scale for both phases of a curve.
    assert first.split() == ["cls", "8", "█▇▆▅▄▃▂▁", "1", "│", "1", "▁▁▁▁▁▁▁▁", "1"]
    assert accuracy.split(" │ ")[1] == "12.5 % ▁▂▃▄▅▆▇█ 100.0 %"
    assert accuracy.startswith("target accuracy (not used) ")
    assert r"[b]<img>\x1b[31m\n[/nope]" in hostile
    assert hostile.endswith("1,000 ▁▂▃▄▅▆▇█   8,000")


def test_the_share_of_batches_is_called_as_on_pages() -> None:
    curves = {"confident": {"adapt": Curve((1, 2), (0.2, 0.4))}}
    assert shown(CurveLines("c", curves))[1].startswith("labelled in training batches  ")


def test_a_change_of_little_is_not_blown_up() -> None:
    steps = (1, 2, 3)
    curves = {"target_accuracy": {"adapt": Curve(steps, (0.90, 0.91, 0.90))}}
    assert shown(CurveLines("c", curves))[1].split("  ", 1)[1] == "90.0 % ▄▅▄ 90.0 %"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_curves_keep_within_the_terminal(width: int) -> None:
    lines = shown(CurveLines("training curves", two_phases(90)), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    # Where phases have no room beside each other, each has lines of its own.
    assert len(lines) == (4 if width >= 80 else 7 if width >= 60 else len(lines))
    assert sum("target accuracy (not used)" in line for line in lines) == (1 if width >= 80 else 2)


def test_without_blocks_other_marks_stand_for_them() -> None:
    lines = shown(CurveLines("training curves", two_phases()), 120, "ascii")
    assert lines[1].split() == ["cls", "8", "@%*+=-:.", "1", "|", "1", "........", "1"]


def test_one_evaluation_is_no_curve(tmp_path: Path) -> None:
    assert shown(CurveLines("curves", {"cls": {"adapt": Curve((5,), (1.0,))}})) == []
    assert shown(run_curves(write_run(tmp_path / "run", {0: []}))) == []


def write_predictions(run: RunFolder, seed: int, rows: list[tuple[str, ...]]) -> Path:
    path = run.seed(seed).root / "predictions.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(",".join(row) for row in [("id", "label", "source-only", "last"), *rows]) + "\n")
    return path


def test_confusions_are_summed_over_seeds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {0: [], 1: []})
    for seed, last in ((0, "push"), (1, "hug")):
        rows = [("a", "hug", "push", last), ("b", "push", "push", "push"), ("c", "", "hug", "hug")]
        write_predictions(run, seed, rows)
    # Nothing adapts: the result is the warm-started head.
    found = confusion(run)
    assert found == Confusion("source-only", ("hug", "push"), ((0, 2), (0, 2)), 2)
    assert confusion(run, "last") == Confusion("last", ("hug", "push"), ((1, 1), (0, 2)), 2)
    assert confusion(run, "last", [0]) == Confusion("last", ("hug", "push"), ((0, 1), (0, 1)), 1)
    assert shown(ConfusionLines(found)) == [
        "confusion, source-only heads, 2 seeds: 2 of 4 right; rows: true class",
        "      hug  push",
        "hug     ·     2",
        "push    ·     2",
    ]
    read = read_predictions(run.seed(0).root / "predictions.csv", ("hug", "push"))
    assert (read.ids, read.labels, read.predicted["last"]) == (("a", "b", "c"), (0, 1, -1), (1, 1, 0))
    for seed in (0, 1):
        write_predictions(run, seed, [("a", "", "hug", "hug")])
    assert confusion(run) is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "kiss", "hug", "hug")], "classes that the run does not have: kiss"),
        ([("a", "hug", "hug", "\x1b[31mhug")], r"does not have: \\x1b\[31mhug"),
        ([("a",)], "row 2 has 1 cells, not 4"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(tmp_path: Path, rows: list[tuple[str, ...]], message: str) -> None:
    run = write_run(tmp_path / "run", {0: []})
    with pytest.raises(RunError, match="is missing"):
        confusion(run)
    path = write_predictions(run, 0, rows)
    with pytest.raises(RunError, match=message):
        confusion(run)
    path.write_text("id,label\na,hug\n")
    with pytest.raises(RunError, match="has no column 'source-only'"):
        confusion(run)


def many_classes(n: int) -> Confusion:
    """Every class is right 50 − c times and c times taken for the next."""
    counts = tuple(tuple(50 - c if t == c else c if t == (c + 1) % n else 0 for t in range(n)) for c in range(n))
    return Confusion("last", tuple(f"class {c}" for c in range(n)), counts, 1)


def test_of_many_classes_the_most_frequent_confusions() -> None:
    assert len(shown(ConfusionLines(many_classes(12)), 200)) == 14
    title, *lines = shown(ConfusionLines(many_classes(13)), 200)
    assert title == "most frequent confusions, last head: 572 of 650 right"
    assert len(lines) == 10
    assert lines[0] == "class 12 → class 0   12 of 50"
    assert lines[-1] == "class 3 → class 4     3 of 50"
    assert shown(ConfusionLines(many_classes(13)), 200, "ascii")[1] == "class 12 -> class 0   12 of 50"


def test_columns_are_numbers_where_names_are_too_wide() -> None:
    found = many_classes(10)
    wide, narrow, narrowest = (shown(ConfusionLines(found), width) for width in (120, 60, 30))
    assert wide[1].split() == [word for c in range(10) for word in ("class", str(c))]
    assert narrow[1].split() == [str(n) for n in range(1, 11)]
    assert narrow[2].split()[:3] == ["1", "class", "0"]
    assert max(map(len, narrow)) <= 60
    assert narrowest[0].startswith("most frequent")
    assert max(map(len, narrowest)) <= 30


def test_names_of_classes_are_no_markup() -> None:
    found = Confusion("last", (HOSTILE, "押す"), ((3, 1), (0, 4)), 1)
    for rendered in (ConfusionLines(found), ConfusionLines(Confusion("last", (HOSTILE,) * 13, ((1,) * 13,) * 13, 1))):
        text = "\n".join(shown(rendered))
        assert r"[b]<img>\x1" in text
        assert "\x1b" not in text
    rows = shown(ConfusionLines(found))
    assert rows[-1].endswith("·     4")


def test_commands_can_be_pasted_from_any_width() -> None:
    words = ("comix", "retrieve", "--from-cache", "cache/a b [c]", "--run", "runs/it's", "--html")
    for width in (40, 60, 200):
        lines = shown(NextSteps([("comix", "report", "runs/x"), words]), width)
        assert lines[0] == "next: comix report runs/x"
        assert lines[1].startswith("or:   comix retrieve --from-cache")
        pasted = "\n".join(lines[1:]).removeprefix("or:")
        as_given = subprocess.run(["sh", "-c", f"printf '%s\\n' {pasted}"], capture_output=True, text=True, check=True)
        assert as_given.stdout.splitlines() == list(words)
        assert len(lines) == (2 if width == 200 else len(lines))
        assert max(map(len, lines)) <= width


def test_an_answer_outlives_a_terminal_without_its_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from comix_fast import console

    for as_json in (False, True):
        raw = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
        if as_json:
            console.print_answer({"x": 1}, True, "")
        else:
            console.print_answer({}, False, "a → b ± c")
        console.sys.stdout.flush()
        text = raw.getvalue().decode("ascii").strip()
        assert json.loads(text) == {"x": 1} if as_json else text == "a ? b ? c"

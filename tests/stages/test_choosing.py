"""What each score would have picked, on trainings small enough to work out by hand."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from comix_fast.choosing_table import choosing_table
from comix_fast.errors import ComixError
from comix_fast.intervals import summarise
from comix_fast.selection import SCORES
from comix_fast.stages.choosing import Figure, ScoreReport, Study, study
from comix_fast.stages.choosing_text import to_markdown

Training = list[dict[str, Any]]

# Accuracies step by step. The last step is never the best one, and each seed has another best method.
ACCURACIES = {
    "plain": {0: [0.50, 0.70, 0.60, 0.40], 1: [0.30, 0.60, 0.90, 0.80]},
    "ours": {0: [0.20, 0.40, 0.80, 0.70], 1: [0.90, 0.50, 0.60, 0.40]},
}


def training(accuracies: list[float], **scores: list[float | None]) -> Training:
    """Lines as metrics.jsonl holds them; scores not named are not available."""
    return [
        {
            "phase": "adapt",
            "iteration": 10 * (step + 1),
            "infomax": 0.0,
            "target_accuracy": accuracy,
            "scores": dict.fromkeys(SCORES) | {name: values[step] for name, values in scores.items()},
        }
        for step, accuracy in enumerate(accuracies)
    ]


def hand_made() -> dict[str, dict[int, Training]]:
    """entropy: a perfect score. snd: an inverted one. bnm: constant. The others: None."""
    return {
        method: {
            seed: training(values, entropy=[2 * v - 5 for v in values], snd=[-v for v in values], bnm=[3.0] * 4)
            for seed, values in seeds.items()
        }
        for method, seeds in ACCURACIES.items()
    }


def report(found: Study, name: str) -> ScoreReport:
    return next(one for one in found.reports if one.name == name)


def value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def shown(found: Study, width: int = 200) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, emoji=False).print(choosing_table(found))
    return stream.getvalue()


def row_of(text: str, title: str) -> list[str]:
    """The cells of one row of a Markdown table."""
    return next(
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if f"| {title} |" in line
    )


def test_a_perfect_score_picks_what_the_oracle_picks() -> None:
    found = study(hand_made())
    perfect, oracle = report(found, "entropy"), found.oracle
    assert value(perfect.within) == pytest.approx(1)
    assert value(perfect.across) == pytest.approx(1)
    assert value(perfect.picked_step) == value(oracle.picked_step) == pytest.approx((0.7 + 0.9 + 0.8 + 0.9) / 4)
    assert value(perfect.picked_method) == value(oracle.picked_method) == pytest.approx((0.7 + 0.8) / 2)
    assert value(perfect.regret_step) == value(perfect.regret_method) == 0
    assert perfect.n_scored == 4


def test_an_inverted_score_picks_the_worst() -> None:
    inverted = report(study(hand_made()), "snd")
    assert value(inverted.within) == pytest.approx(-1)
    assert value(inverted.across) == pytest.approx(-1)
    assert value(inverted.picked_step) == pytest.approx((0.4 + 0.3 + 0.2 + 0.4) / 4)
    assert value(inverted.regret_step) == pytest.approx(0.825 - 0.325)
    assert value(inverted.gain_step) == pytest.approx(0.325 - (0.4 + 0.8 + 0.7 + 0.4) / 4)
    assert value(inverted.picked_method) == pytest.approx(0.4)
    assert value(inverted.regret_method) == pytest.approx(0.75 - 0.4)


def test_a_constant_score_ranks_nothing() -> None:
    """The first step wins its tie, and tied methods share, whichever stands first."""
    constant = report(study(hand_made()), "bnm")
    assert constant.within is None
    assert constant.across is None
    assert value(constant.picked_step) == pytest.approx((0.5 + 0.3 + 0.2 + 0.9) / 4)
    assert value(constant.picked_method) == pytest.approx((0.4 + 0.8 + 0.7 + 0.4) / 4)


def test_a_score_that_is_not_available_claims_nothing() -> None:
    found = study(hand_made())
    assert report(found, "mixval") == ScoreReport("mixval", SCORES["mixval"].title)


def test_last_and_oracle_stand_beside() -> None:
    found = study(hand_made())
    assert [one.name for one in found.reports] == ["last", *SCORES, "oracle"]
    last, oracle = found.last, found.oracle
    assert value(last.picked_step) == pytest.approx(0.575)
    assert value(last.regret_step) == value(oracle.gain_step) == pytest.approx(0.825 - 0.575)
    assert value(last.picked_method) == pytest.approx(0.575)
    assert value(last.regret_method) == pytest.approx(0.75 - 0.575)
    undefined = (last.within, last.across, last.gain_step, oracle.within, oracle.across, oracle.regret_step)
    assert undefined == (None,) * 6


def test_intervals_of_means_are_those_over_seeds() -> None:
    found = study(hand_made())
    last, inverted = found.last.picked_step, report(found, "snd").gain_step
    assert last is not None
    assert inverted is not None
    assert last.half_width == pytest.approx(summarise([(0.4 + 0.7) / 2, (0.8 + 0.4) / 2]).half_width)
    gains = [(0.4 + 0.2 - 0.4 - 0.7) / 2, (0.3 + 0.4 - 0.8 - 0.4) / 2]
    assert inverted.half_width == pytest.approx(summarise(gains).half_width)
    assert (last.n, inverted.n) == (4, 4)


def test_one_seed_gives_no_interval() -> None:
    found = study({method: {0: seeds[0]} for method, seeds in hand_made().items()})
    figures = [found.last.picked_step, report(found, "entropy").within, found.oracle.picked_method]
    assert all(figure is not None and figure.half_width is None for figure in figures)
    # Two models are too few to rank.
    assert report(found, "entropy").across is None
    assert "one seed, so no interval" in to_markdown(found)
    assert "± " not in to_markdown(found).split("- ρ")[0]


def test_across_is_over_every_method_and_seed_at_the_last_step() -> None:
    # Within each training the score is inverted; over the four last steps, 0.4, 0.6, 0.7, 0.9, two neighbours swap.
    lines = {
        "a": {0: training([0.6, 0.5, 0.4], knn=[0.0, 0.5, 1.0]), 1: training([0.8, 0.7, 0.6], knn=[0.0, 1.0, 3.0])},
        "b": {0: training([0.9, 0.8, 0.7], knn=[0.0, 1.0, 2.0]), 1: training([1.0, 0.95, 0.9], knn=[0.0, 1.0, 4.0])},
    }
    found = report(study(lines), "knn")
    assert value(found.within) == pytest.approx(-1)
    # 1 − 6 Σd² / (n (n² − 1)) with Σd² = 2 and n = 4.
    assert value(found.across) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert value(found.picked_method) == pytest.approx((0.7 + 0.9) / 2)
    assert value(found.picked_step) == pytest.approx((0.4 + 0.6 + 0.7 + 0.9) / 4)


def test_where_a_score_is_missing_the_last_step_and_the_other_methods_stand_in() -> None:
    lines = hand_made()
    for step in lines["ours"][0]:
        step["scores"] = dict.fromkeys(SCORES)
    found = study(lines)
    partial = report(found, "entropy")
    assert partial.n_scored == 3
    assert value(partial.picked_step) == pytest.approx((0.7 + 0.9 + 0.7 + 0.9) / 4)
    assert value(partial.picked_method) == pytest.approx((0.4 + 0.8) / 2)
    assert partial.within is not None
    assert partial.within.n == 3
    title = SCORES["entropy"].title
    assert f"{title}: not available in 1 of 4 trainings, where the last step stands in" in shown(found)
    assert f"{SCORES['mixval'].title}: not available\n" in to_markdown(found)


def test_a_seed_given_up_by_one_method_still_counts() -> None:
    lines = hand_made()
    del lines["ours"][0]
    found = study(lines)
    assert (found.n_trainings, found.seeds, found.methods) == (3, (0, 1), ("plain", "ours"))
    assert value(found.oracle.picked_step) == pytest.approx((0.7 + 0.9 + 0.9) / 3)
    assert value(found.oracle.picked_method) == pytest.approx((0.4 + 0.8) / 2)


def test_of_equal_scores_the_first_step_is_picked_and_without_any_the_last() -> None:
    lines = training([0.1, 0.2, 0.3, 0.4], knn=[0.5, 0.9, None, 0.9], dev=[None, math.nan, None, None])
    found = study({"plain": {0: lines}})
    assert value(report(found, "knn").picked_step) == 0.2
    assert value(found.last.picked_step) == 0.4
    assert report(found, "dev").n_scored == 0
    # Where one training has the score, the last step stands in for the other.
    both = study({"plain": {0: lines, 1: training([0.5, 0.6], dev=[2.0, 1.0])}})
    assert value(report(both, "dev").picked_step) == pytest.approx((0.4 + 0.5) / 2)


def test_runs_that_stored_infomax_alone_are_read() -> None:
    lines = [{"iteration": n, "infomax": score, "target_accuracy": n / 10} for n, score in enumerate((0.1, 0.4, 0.2))]
    found = study({"plain": {0: lines}})
    assert value(report(found, "infomax").picked_step) == 0.1
    assert value(report(found, "infomax").within) == pytest.approx(0.5)
    assert report(found, "knn").n_scored == 0


def test_trainings_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(ComixError, match=r"trainings without evaluations: 1\n  plain, seed 3"):
        study({"plain": {3: []}})
    with pytest.raises(ComixError, match="trained on target labels"):
        study({"bound": {0: [{"phase": "supervised", "iteration": 1, "target_accuracy": 0.9}]}})


def test_without_accuracy_no_score_is_judged() -> None:
    lines = hand_made()
    lines["ours"][0][1]["target_accuracy"] = None
    found = study(lines)
    assert (found.n_trainings, found.n_unmeasured) == (3, 1)
    assert "left out, for want of target accuracy: 1 of 4 trainings" in shown(found)
    nothing = study({"plain": {0: [line | {"target_accuracy": None} for line in hand_made()["plain"][0]]}})
    assert nothing.n_trainings == 0
    assert nothing.oracle.picked_step is None
    assert "no training was measured" in shown(nothing)
    assert study({}).n_trainings == 0


def test_the_order_of_methods_changes_nothing() -> None:
    turned = dict(reversed(hand_made().items()))
    for one, other in zip(study(hand_made()).reports, study(turned).reports, strict=True):
        assert value(one.picked_step or Figure(0, None, 0)) == pytest.approx(
            value(other.picked_step or Figure(0, None, 0))
        )
        assert value(one.picked_method or Figure(0, None, 0)) == pytest.approx(
            value(other.picked_method or Figure(0, None, 0))
        )


def test_the_table_in_markdown() -> None:
    text = to_markdown(study({method: {0: seeds[0]} for method, seeds in hand_made().items()}))
    assert text.startswith("**choosing without labels: target accuracy in %, 2 methods, one seed, so no interval**\n")
    assert row_of(text, "last") == ["last", "–", "–", "55.0", "–", "20.0", "55.0", "15.0"]
    assert row_of(text, "entropy (negative)")[1:] == ["+1.00", "–", "75.0", "+20.0", "0.0", "70.0", "0.0"]
    assert row_of(text, SCORES["snd"].title)[1:] == ["−1.00", "–", "30.0", "−25.0", "45.0", "40.0", "30.0"]
    assert row_of(text, SCORES["bnm"].title)[1:] == ["–", "–", "35.0", "−20.0", "40.0", "55.0", "15.0"]
    assert row_of(text, "MixVal")[1:] == ["–"] * 7
    assert row_of(text, r"oracle (peeks at target labels)")[1:] == ["–", "–", "75.0", "+20.0", "–", "70.0", "–"]


def test_the_table_in_the_terminal() -> None:
    found = study(hand_made())
    lines = shown(found).splitlines()
    assert lines[0] == "choosing without labels: target accuracy in %, 2 methods, 2 seeds, ± 95 % over seeds"
    names = ["last", *(score.title for score in SCORES.values()), "oracle (peeks at target labels)"]
    assert [line.split("  ")[0] for line in lines[2:12]] == names
    assert "57.5 ± 31.8" in lines[2]
    assert "+1.00 ± 0.00" in lines[3]
    assert any("the row last" in line for line in lines[12:])


def test_json_holds_every_figure() -> None:
    found = json.loads(json.dumps(study(hand_made()).to_json(), allow_nan=False))
    assert found["scores"][0]["name"] == "entropy"
    assert found["scores"][0]["within"] == {"value": pytest.approx(1), "half_width": pytest.approx(0), "n": 4}
    assert found["oracle"]["picked_step"]["value"] == pytest.approx(0.825)
    assert found["seeds"] == [0, 1]

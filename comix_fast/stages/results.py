"""What a run came to: accuracies per seed and over seeds, each named by how its step was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comix_fast.config import AdaptRecipe
from comix_fast.intervals import summarise
from comix_fast.stages.runs import RunFolder

# How a step is chosen: the last one; by a score without labels; by the target labels themselves, which cheats.
CHOICES = ("last", "selected", "oracle")
PHASES = ("warmstart", "adapt", "supervised")
Line = Mapping[str, Any]


def method_name(recipe: AdaptRecipe) -> str:
    """The method as tables name it: CoMix's parts, after its ablation (Table 4 there), and the teacher."""
    if not recipe.adapts:
        if recipe.method == "comix" and recipe.feature_norm == "domain" and recipe.iterations != 0:
            return "standardised per domain"
        return recipe.method if recipe.method == "target-supervised" else "source-only"
    if recipe.method != "comix":
        return f"+ {recipe.method}"
    parts = []
    if recipe.lambda_bgm:
        parts.append("BGM" if recipe.mixing else "TCL")
    if recipe.lambda_tpl:
        parts.append("TPL")
    if recipe.lambda_teacher:
        parts.append("teacher" if recipe.mixing else "teacher (plain clips)")
    return "+ " + " + ".join(parts)


def score_of(line: Line, name: str) -> float | None:
    """A label-free score of one evaluation; None where it was not to be had."""
    value = line.get("scores", line).get(name)
    return None if value is None else float(value)


def chosen_steps(lines: Sequence[Line], select_by: str) -> dict[str, dict[str, Any]]:
    """Of one seed's evaluations of one phase: the step of each choice and its accuracy. Ties go to the earlier.

    select_by: the label-free score; where no step has it the last one is selected.
    """
    scored = [line for line in lines if score_of(line, select_by) is not None]
    if "infomax" not in lines[-1]:
        picked = dict.fromkeys(CHOICES, lines[-1])
    else:
        picked = {
            "last": lines[-1],
            "selected": max(scored, key=lambda line: score_of(line, select_by) or 0.0) if scored else lines[-1],
            "oracle": max(lines, key=lambda line: line["target_accuracy"] or 0.0),
        }
    return {
        name: {
            "iteration": line["iteration"],
            "accuracy": line["target_accuracy"],
            "score": score_of(line, select_by),
        }
        for name, line in picked.items()
    }


def row_names(recipe: AdaptRecipe) -> dict[str, str]:
    """What the row of each phase is called."""
    first = "source-only" if recipe.adapts else method_name(recipe)
    return {"warmstart": first, "adapt": method_name(recipe), "supervised": "target-supervised"}


def summarise_run(run: RunFolder) -> dict[str, Any]:
    """The content of results.json: one row per phase, each choice with its values, mean, std and interval.
    score: the label-free score at that step, per seed.

    Accuracies are shares in [0, 1]; null where the target has no labels to measure with.
    """
    names, rows = row_names(run.recipe), []
    per_seed = {seed: run.seed(seed).metrics() for seed in run.recipe.seed_list}
    for phase in PHASES:
        steps = {}
        for seed, lines in per_seed.items():
            if mine := [line for line in lines if line["phase"] == phase]:
                steps[seed] = chosen_steps(mine, run.recipe.select_by)
        if steps:
            rows.append({"name": names[phase], "phase": phase, **_over_seeds(steps)})
    kept = ("source", "target", "transductive", "n_labelled", "cache", "cache_key", "warnings", "notes")
    return {
        "measured_on": measured_on(run.meta),
        "seeds": list(run.recipe.seed_list),
        **{name: run.meta[name] for name in kept},
        "selection": selection_text(run.recipe.select_by),
        "rows": rows,
    }


def selection_text(select_by: str) -> str:
    """How a step is chosen without labels, in a few words."""
    videos = "the target's unlabelled training videos"
    if select_by == "dev":
        videos = f"held-out source videos, weighted by their likeness to {videos}"
    return f"{select_by} on {videos}"


def _over_seeds(steps: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for choice in CHOICES:
        values = [seed[choice]["accuracy"] for seed in steps.values()]
        known = None not in values
        row[choice] = {
            "accuracy": values if known else None,
            "iteration": [seed[choice]["iteration"] for seed in steps.values()],
            "score": [seed[choice]["score"] for seed in steps.values()],
            **(_summary(values) if known else {"mean": None, "std": None, "interval95": None}),
        }
    return row


def _summary(values: Sequence[float]) -> dict[str, Any]:
    summary = summarise(values)
    return {"mean": summary.mean, "std": summary.std, "interval95": summary.half_width}


def measured_on(meta: Mapping[str, Any]) -> str:
    """One sentence on which videos the target accuracy is measured, transductive or held out."""
    n_labelled, n_videos, target = meta["n_labelled"], meta["dataset"]["measured"]["n"], meta["target"]
    if not n_labelled:
        return f"{target} has no labels, so there is no accuracy; see predictions.csv of each seed"
    which = "the ones adapted on, without their labels (transductive)" if meta["transductive"] else "its test list"
    labelled = "" if n_labelled == n_videos else f" that are labelled, of {n_videos:,},"
    return f"{n_labelled:,} videos{labelled} of {target}: {which}"

"""The accuracy table of a run: per phase the last step, the one selected without labels, the oracle's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comix_fast.intervals import summarise
from comix_fast.report.gathering.readings import Reading
from comix_fast.report.gathering.wording import phase_names
from comix_fast.stages.results import CHOICES, PHASES, chosen_steps

NO_NUMBER = "–"


def accuracy_rows(reading: Reading) -> list[dict[str, Any]]:
    """A row for each phase, over the seeds that are finished: what results.json says once all of them are.

    values: shares in [0, 1], one a seed, null where the target has no labels; half_width: of the 95 % t-interval of
    their mean, null for a single seed; text: both as the terminal has them, in percent; iterations: of the steps.
    """
    run, rows = reading.folder, []
    names = phase_names(run)
    for phase in PHASES:
        steps = []
        for seed in reading.seeds:
            mine = [line for line in reading.lines.get(seed, ()) if line["phase"] == phase]
            if mine:
                steps.append(chosen_steps(mine, run.recipe.select_by))
        if steps:
            choices = {choice: _over_seeds([step[choice] for step in steps]) for choice in CHOICES}
            rows.append({"name": names[phase], "phase": phase, "choices": choices})
    return rows


def _over_seeds(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [step["accuracy"] for step in steps]
    iterations = [step["iteration"] for step in steps]
    if None in values:
        return {"values": None, "mean": None, "half_width": None, "text": NO_NUMBER, "iterations": iterations}
    over = summarise(values)
    interval = {"mean": over.mean, "half_width": over.half_width, "text": over.text()}
    return {"values": values, **interval, "iterations": iterations}

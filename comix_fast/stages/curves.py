"""What the evaluations of a run say over its iterations: loss terms, and what target labels measure of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comix_fast.stages.results import PHASES, Line
from comix_fast.stages.runs import RunFolder

TARGET_ACCURACY, CONFIDENT = "target_accuracy", "confident"
LABELLED_IN_BATCHES = "labelled in training batches"
"""What the share of each batch is called that got a pseudo-label in training, wherever it is shown."""
WOULD_BE_LABELLED, RIGHT_AMONG_THESE = "would be labelled", "right among these"
"""At evaluations: the share of target videos whose likeliest class reaches the threshold; the share of them right."""
_NO_TERM = frozenset({"seed", "phase", "iteration", "scores", "infomax", "pseudo", TARGET_ACCURACY})


@dataclass(frozen=True)
class Curve:
    """A number over one phase of training. iterations: ascending; values: as many, finite."""

    iterations: tuple[int, ...]
    values: tuple[float, ...]


def loss_terms(line: Line) -> dict[str, float]:
    """The loss terms of one evaluation by name: means over the iterations since the one before. "total" is what was
    minimised; terms are before their weights. With them, the "confident" share of each batch where CoMix labels."""
    return {name: float(value) for name, value in line.items() if name not in _NO_TERM}


def mean_curves(run: RunFolder) -> dict[str, dict[str, Curve]]:
    """Of every loss term, and of "target_accuracy" where it was measured: by phase, the mean over the run's seeds.

    Terms come in the order in which they appear, "total" after the others and "target_accuracy" last. An evaluation
    that only some seeds have is the mean over these.
    """
    lines = [line for seed in run.recipe.seed_list for line in run.seed(seed).metrics()]
    found = dict.fromkeys(name for line in lines for name in loss_terms(line))
    names = sorted((*found, TARGET_ACCURACY), key=lambda name: (name == TARGET_ACCURACY, name == "total"))
    curves = {
        name: {phase: _mean([line for line in lines if line["phase"] == phase], name) for phase in PHASES}
        for name in names
    }
    with_values = {name: {p: curve for p, curve in phases.items() if curve.values} for name, phases in curves.items()}
    return {name: phases for name, phases in with_values.items() if phases}


def _mean(lines: Iterable[Line], name: str) -> Curve:
    at: dict[int, list[float]] = {}
    for line in lines:
        value = line.get(name)
        if value is not None and math.isfinite(value):
            at.setdefault(int(line["iteration"]), []).append(float(value))
    order = sorted(at)
    return Curve(tuple(order), tuple(sum(at[step]) / len(at[step]) for step in order))


def worth_showing(curves: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """The names of curves that say something: no term that is 0 throughout, no total that is one of the terms."""
    alive = [name for name, phases in curves.items() if any(any(curve.values) for curve in phases.values())]
    return [name for name in alive if name != "total" or not _repeated(curves, alive)]


def _repeated(curves: Mapping[str, Mapping[str, Curve]], names: Sequence[str]) -> bool:
    return any(curves[name] == curves["total"] for name in names if name not in ("total", TARGET_ACCURACY))

"""What was logged while a run trained: its loss terms, its label-free score, and what was measured on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from comix_fast.config import AdaptRecipe
from comix_fast.report.gathering.readings import Reading, finite, is_number
from comix_fast.stages.curves import (
    CONFIDENT,
    LABELLED_IN_BATCHES,
    RIGHT_AMONG_THESE,
    TARGET_ACCURACY,
    WOULD_BE_LABELLED,
    mean_curves,
    worth_showing,
)
from comix_fast.stages.results import PHASES, Line, score_of

MOST_POINTS = 400
"""Of one line: a screen shows no more."""

_NO_TERM = (TARGET_ACCURACY, CONFIDENT)
_LABELS = {
    "cls": "classification (source labels)",
    "second": "second classifier (source labels)",
    "tpl": "target pseudo-labels",
    "teacher": "teacher on the target",
    "total": "sum, as minimised",
}
_ALIGNED = {
    "coral": "covariances of source and target (CORAL)",
    "mmd": "distance of source and target (MMD)",
    "dann": "domain classifier (DANN)",
    "mcd": "disagreement of the classifiers (MCD)",
    "self-training": "target pseudo-labels",
    "adamatch": "target pseudo-labels (AdaMatch)",
}
Take = Callable[[Line], object]
Quantity = tuple[dict[str, Any], Take]


def curves(reading: Reading) -> list[dict[str, Any]]:
    """One entry for each phase and quantity, with a line for every seed that logged it; the loss terms come first.

    kind: "loss"; "score", the label-free one that selects; "pseudo", shares of pseudo-labelled videos; "accuracy".
    used: whether training or selection used it. measured_with_labels: whether the target's labels told it; that is
    never used. The share of videos that would be labelled is neither: no label is looked at for it.
    A number that is not finite is null. A line of more than MOST_POINTS evaluations is thinned, ends kept.
    """
    found, means = [], mean_curves(reading.folder)
    for phase in PHASES:
        of_phase = {name: {phase: phases[phase]} for name, phases in means.items() if phase in phases}
        terms = [name for name in worth_showing(of_phase) if name not in _NO_TERM]
        by_seed = {
            seed: mine for seed, lines in reading.lines.items() if (mine := [x for x in lines if x["phase"] == phase])
        }
        for entry, take in (*_losses(terms, reading.folder.recipe), *_others(by_seed, reading.folder.recipe)):
            series = [one for seed, lines in by_seed.items() if (one := _series(seed, lines, take))]
            if series:
                found.append({"phase": phase, **entry, "series": series})
    return found


def was_thinned(reading: Reading) -> bool:
    """Whether some line has more evaluations than are drawn."""
    return any(
        sum(line["phase"] == phase for line in lines) > MOST_POINTS
        for lines in reading.lines.values()
        for phase in PHASES
    )


def lacks_pseudo(reading: Reading) -> bool:
    """Whether the run trained, and its evaluations say nothing of pseudo-labels: those of earlier versions."""
    trained = [line for lines in reading.lines.values() for line in lines if line["phase"] != "supervised"]
    return bool(trained) and not any("pseudo" in line for line in trained)


def _losses(terms: Sequence[str], recipe: AdaptRecipe) -> Iterator[Quantity]:
    for term in terms:
        yield _entry(term, _label(term, recipe), "loss", used=True), _taken(term)


def _others(by_seed: Mapping[int, Sequence[Line]], recipe: AdaptRecipe) -> list[Quantity]:
    """What the lines of one phase hold beside loss terms, and how it is taken from a line."""
    shares = [line["pseudo"] for lines in by_seed.values() for line in lines if "pseudo" in line]
    threshold = f" (p ≥ {shares[0]['threshold']:g})" if shares and is_number(shares[0].get("threshold")) else ""
    score = f"{recipe.select_by} (no labels)"
    return [
        (_entry(CONFIDENT, LABELLED_IN_BATCHES, "pseudo", used=True), _taken(CONFIDENT)),
        (_entry("coverage", f"{WOULD_BE_LABELLED}{threshold}", "pseudo"), _of_pseudo("coverage")),
        (_entry("precision", f"{RIGHT_AMONG_THESE}{threshold}", "pseudo", with_labels=True), _of_pseudo("precision")),
        (_entry(recipe.select_by, score, "score", used=True), lambda line: score_of(line, recipe.select_by)),
        (_entry(TARGET_ACCURACY, "target accuracy", "accuracy", with_labels=True), _taken(TARGET_ACCURACY)),
    ]


def _entry(term: str, label: str, kind: str, *, used: bool = False, with_labels: bool = False) -> dict[str, Any]:
    return {"term": term, "label": label, "kind": kind, "used": used, "measured_with_labels": with_labels}


def _of_pseudo(name: str) -> Take:
    return lambda line: line.get("pseudo", {}).get(name)


def _taken(term: str) -> Take:
    return lambda line: line.get(term)


def _label(term: str, recipe: AdaptRecipe) -> str:
    if term == "bgm":
        return "contrast with background mixing" if recipe.mixing else "temporal contrast"
    if term == "align":
        return _ALIGNED.get(recipe.method, "source and target aligned")
    return _LABELS.get(term, term)


def _series(seed: int, lines: Sequence[Line], take: Take) -> dict[str, Any] | None:
    """One seed's line; None where it logged nothing of the kind."""
    taken = [(line["iteration"], take(line)) for line in lines]
    if not any(is_number(value) for _, value in taken):
        return None
    if len(taken) > MOST_POINTS:
        step = math.ceil((len(taken) - 1) / (MOST_POINTS - 1))
        taken = [*taken[:-1:step], taken[-1]]
    return {"seed": seed, "x": [x for x, _ in taken], "y": [finite(y) for _, y in taken]}

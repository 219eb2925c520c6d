"""A run's files as a page takes them: checked, so that what is built of them can rely on their form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.errors import RunError
from comix_fast.stages.belonging import HEADS
from comix_fast.stages.confusions import Predictions, read_predictions
from comix_fast.stages.curves import TARGET_ACCURACY
from comix_fast.stages.predictions import PREDICTIONS
from comix_fast.stages.results import PHASES, Line
from comix_fast.stages.runs import METRICS, RUN, RunFolder, SeedFolder

MOST_SEEDS = 1000
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("source", "target", "cache", "cache_key"), str),
    **dict.fromkeys(("n_labelled", "in_dim"), int),
    **dict.fromkeys(("warnings", "notes", "classes"), list),
    "transductive": bool,
    "dataset": dict,
}
"""What run.json has, and in which form."""
_AGAIN = "bring back a copy of the file, or run it again under another --name"


@dataclass(frozen=True, eq=False)
class Reading:
    """A run that was read. shown: its path as it was typed.

    seeds: those that are finished, in order; lines: metrics of every seed that has some, finished or not;
    predictions: of the finished seeds; empty for a run that was imported, which has measured nothing.
    """

    folder: RunFolder
    shown: str
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    lines: Mapping[int, Sequence[Line]]
    predictions: Mapping[int, Predictions]

    @property
    def heads(self) -> list[str]:
        """The heads that every finished seed has predictions of, or has at all where nothing was predicted."""
        if self.predictions:
            return [head for head in HEADS if all(head in found.predicted for found in self.predictions.values())]
        return [head for head in HEADS if self.seeds and all(self.has(seed, head) for seed in self.seeds)]

    def has(self, seed: int, head: str) -> bool:
        """Whether a seed keeps a head, so that it can be asked about other videos."""
        return self.folder.seed(seed).head_path(head).exists()

    @property
    def unfinished(self) -> list[int]:
        """Seeds of the recipe that are not finished."""
        return [seed for seed in self.folder.recipe.seed_list if seed not in self.seeds]


def read_run(path: Path) -> Reading:
    """Reads run.json, and of every seed metrics.jsonl and predictions.csv.

    Raises RunError if the run is absent, or a file of it does not hold what such a file holds; it names the file.
    """
    folder = RunFolder(path)
    classes = _checked_meta(folder)
    lines, predictions = {}, {}
    for seed in folder.recipe.seed_list:
        files = folder.seed(seed)
        if found := _lines(files):
            lines[seed] = found
        if (files.root / PREDICTIONS).exists():
            predictions[seed] = read_predictions(files.root / PREDICTIONS, classes)
    seeds = tuple(predictions)
    if not predictions and not lines:
        # An imported model: a head, and nothing that was measured.
        seeds = tuple(
            seed
            for seed in folder.recipe.seed_list
            if any(folder.seed(seed).head_path(head).exists() for head in HEADS)
        )
    return Reading(folder, str(path), classes, seeds, lines, predictions)


def _checked_meta(folder: RunFolder) -> tuple[str, ...]:
    """The classes. Raises RunError if run.json lacks what a page says of a run."""
    where, meta, recipe = folder.root / RUN, folder.meta, folder.recipe
    counts = (recipe.seed, recipe.seeds)
    if not all(type(count) is int for count in counts) or recipe.seeds > MOST_SEEDS:
        raise RunError(f"{where} does not hold a number of seeds that a run can have: {counts!r:.80}")
    if not all(isinstance(getattr(recipe, name), str) for name in ("method", "head", "statistics", "select_by")):
        raise RunError(f"{where} does not name its method, head and score in words")
    for name, kind in _KINDS.items():
        if not isinstance(meta.get(name), kind):
            raise RunError(f"{where} has no {name!r} that a run can have", hint=_AGAIN)
    if not all(isinstance(meta.get(name, {}), dict) for name in ("features", "video")):
        raise RunError(f"{where} does not describe its features", hint=_AGAIN)
    classes = tuple(meta["classes"])
    if not classes or not all(isinstance(name, str) for name in classes) or len(set(classes)) < len(classes):
        raise RunError(f"{where} lists no classes with names of their own", hint=_AGAIN)
    for name in ("source", "target", "measured"):
        stated = meta["dataset"].get(name)
        if not isinstance(stated, dict) or type(stated.get("n")) is not int or "ids" not in stated:
            raise RunError(f"{where} does not say which videos it has of {name!r}", hint=_AGAIN)
    if not isinstance(meta["dataset"].get("classes"), dict) or "names" not in meta["dataset"]["classes"]:
        raise RunError(f"{where} does not say which classes it was made for", hint=_AGAIN)
    return classes


def _lines(files: SeedFolder) -> Sequence[Line]:
    found = files.metrics()
    for number, line in enumerate(found):
        if reason := _wrong(line):
            raise RunError(f"{files.root / METRICS}, line {number + 1:,}: {reason}", hint=_AGAIN)
    return found


def _wrong(line: Any) -> str:
    """What keeps a line of metrics from being one; empty where nothing does."""
    if not isinstance(line, dict):
        return "it is no object"
    if line.get("phase") not in PHASES:
        return f"its phase is {line.get('phase')!r:.40}, not one of {', '.join(PHASES)}"
    if type(line.get("iteration")) is not int:
        return "it has no whole number of iterations"
    accuracy = line.get("target_accuracy", "")
    if accuracy is not None and not (is_number(accuracy) and 0 <= accuracy <= 1):
        return "its target_accuracy is no share"
    known = ("phase", "scores", "pseudo", TARGET_ACCURACY)
    if odd := [name for name, value in line.items() if name not in known and not (value is None or is_number(value))]:
        return f"its {odd[0]!r:.40} is no number"
    for name in ("scores", "pseudo"):
        below = line.get(name, {})
        if not isinstance(below, dict) or not all(value is None or is_number(value) for value in below.values()):
            return f"its {name} are no numbers"
    return ""


def is_number(value: object) -> bool:
    """Whether a value of JSON is a number; NaN, which Python's JSON can hold, is one too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: object, digits: int = 6) -> float | None:
    """The number with so many significant digits; None for what is no number, or none that JSON has."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")

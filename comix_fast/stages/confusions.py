"""What a run's heads take for what: the predictions of its seeds, counted by true and predicted class."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comix_fast.cache.format import UNLABELLED
from comix_fast.errors import RunError, first_few
from comix_fast.printable import printable
from comix_fast.stages import runs
from comix_fast.stages.predictions import PREDICTIONS
from comix_fast.stages.runs import RunFolder

_AGAIN = "bring back a copy of the file, or delete the run folder and run it again"


@dataclass(frozen=True)
class Predictions:
    """predictions.csv of a seed, read back.

    ids: [V] measured videos; labels: [V] class numbers, −1 where unlabelled; predicted: by head, [V] class numbers.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    predicted: dict[str, tuple[int, ...]]

    def counts(self, head: str, n_classes: int) -> list[list[int]]:
        """[C][C]: how many labelled videos of each class, the rows, a head takes for which, the columns."""
        counts = [[0] * n_classes for _ in range(n_classes)]
        for label, taken, count in self.pairs(head):
            counts[label][taken] = count
        return counts

    def pairs(self, head: str) -> list[list[int]]:
        """[true class, predicted class, count] of the pairs that occur among labelled videos, in rising order.

        Of many classes these are few, where counts() has a number for every pair.
        """
        seen = Counter(
            (label, taken)
            for label, taken in zip(self.labels, self.predicted[head], strict=True)
            if label != UNLABELLED
        )
        return [[label, taken, seen[label, taken]] for label, taken in sorted(seen)]


@dataclass(frozen=True)
class Confusion:
    """How often which class is taken for which. head: whose predictions; n_seeds: over how many seeds they are summed.

    counts: [C][C], of the labelled measured videos; row: the true class, column: the predicted one.
    """

    head: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    n_seeds: int

    def most_frequent(self, most: int) -> list[tuple[int, int, int]]:
        """(true class, predicted class, count) of the confusions there are, the most frequent first, at most `most`."""
        wrong = [
            (true, taken, count)
            for true, row in enumerate(self.counts)
            for taken, count in enumerate(row)
            if count and true != taken
        ]
        return sorted(wrong, key=lambda one: -one[2])[:most]


def read_predictions(path: Path, classes: Sequence[str]) -> Predictions:
    """predictions.csv as a run with these classes writes it.

    Raises RunError if it is absent, no such table, has rows of other lengths, or names classes that the run does not
    have; it names the file.
    """
    header, *rows = _rows(path)
    if header[:2] != ["id", "label"] or len(set(header)) < len(header):
        raise RunError(f"{path} is no table of predictions: its columns are {_listed(header)}", hint=_AGAIN)
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise RunError(f"{path}: row {number + 2:,} has {len(row):,} cells, not {len(header)}", hint=_AGAIN)
    numbers = {name: number for number, name in enumerate(classes)}
    ids, labels, *columns = zip(*rows, strict=True) if rows else [()] * len(header)
    named = {name for column in columns for name in column} | {name for name in labels if name}
    if unknown := sorted(named - numbers.keys()):
        raise RunError(
            f"{path} names {len(unknown):,} classes that the run does not have: {_listed(unknown)}",
            [f"the run's are {_listed(classes)}"],
            hint=_AGAIN,
        )
    return Predictions(
        ids=tuple(ids),
        labels=tuple(numbers[name] if name else UNLABELLED for name in labels),
        predicted={
            head: tuple(numbers[name] for name in column) for head, column in zip(header[2:], columns, strict=True)
        },
    )


def _rows(path: Path) -> list[list[str]]:
    """The rows of a table, its header the first. Raises RunError if it is absent or can't be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file, strict=True)) or [[]]
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing", hint=_AGAIN) from error
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path} can't be read: {error}", hint=_AGAIN) from error


def _listed(names: Sequence[str]) -> str:
    return first_few(printable(name, 60) or "(empty)" for name in names)


def result_column(run: RunFolder) -> str:
    """Whose predictions a run comes to: its result's; of the target-supervised bound, the last heads'."""
    return runs.LAST if run.recipe.method == "target-supervised" else run.result


def confusion(run: RunFolder, head: str | None = None, seeds: Sequence[int] | None = None) -> Confusion | None:
    """The confusion of a head, by default of the run's result, summed over seeds, by default the recipe's.

    None where no measured video is labelled. Raises RunError if predictions are absent, of other classes, or not of
    this head.
    """
    classes, head = tuple(run.meta["classes"]), head or result_column(run)
    counts = [[0] * len(classes) for _ in classes]
    seeds = run.recipe.seed_list if seeds is None else seeds
    for seed in seeds:
        path = run.seed(seed).root / PREDICTIONS
        found = read_predictions(path, classes)
        if head not in found.predicted:
            raise RunError(f"{path} has no column {head!r}", hint=_AGAIN)
        for true, row in enumerate(found.counts(head, len(classes))):
            counts[true] = [one + more for one, more in zip(counts[true], row, strict=True)]
    if not any(map(any, counts)):
        return None
    return Confusion(head, classes, tuple(map(tuple, counts)), len(seeds))

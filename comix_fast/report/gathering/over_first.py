"""Of several runs on one list of videos: what each has over the first, and how far that can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comix_fast.comparison import Cell, Comparison, Gain, MethodResult
from comix_fast.comparison.bootstrap import bootstrap_accuracies, gain_of
from comix_fast.report.gathering.readings import Reading
from comix_fast.stages.confusions import Predictions, result_column

_CHOICE = "last"
Labelled = Mapping[str, int]


def over_first(readings: Sequence[Reading]) -> list[dict[str, float] | None]:
    """For each run the points that its result has over the first run's: of the mean accuracy over seeds.

    "points", "low", "high": in percentage points, the 95 % interval of a paired bootstrap over videos and seeds
    (comix_fast.comparison.bootstrap). None for the first run itself, and for a run that was measured on other videos,
    labels or classes than the first, or that has no finished seed.
    """
    first = _labelled(readings[0])
    alike = [bool(first) and _labelled(reading) == first for reading in readings]
    alike = [same and reading.classes == readings[0].classes for same, reading in zip(alike, readings, strict=True)]
    if sum(alike) < 2:
        return [None] * len(readings)
    comparison = _comparison(readings, alike, first)
    columns = [(name, _CHOICE) for name in comparison.methods]
    base, *_ = drawn = bootstrap_accuracies(comparison, columns).T
    gains = {
        column[0]: gain_of(comparison, column, columns[0], (mine, base))
        for column, mine in zip(columns, drawn, strict=True)
    }
    return [None if not same or not place else _told(gains[str(place)]) for place, same in enumerate(alike)]


def _told(gain: Gain) -> dict[str, float]:
    return {"points": gain.points, "low": gain.low, "high": gain.high}


def _labelled(reading: Reading) -> Labelled:
    """Classes of the labelled videos, if every finished seed predicted the same ones; else empty."""
    found = [_of(one) for one in reading.predictions.values()]
    head = result_column(reading.folder)
    if not found or any(one != found[0] for one in found) or head not in reading.heads:
        return {}
    return found[0]


def _of(found: Predictions) -> Labelled:
    return {video: label for video, label in zip(found.ids, found.labels, strict=True) if label >= 0}


def _comparison(readings: Sequence[Reading], alike: Sequence[bool], labelled: Labelled) -> Comparison:
    methods = {
        str(place): MethodResult(reading.shown, _cells(reading, labelled))
        for place, (reading, same) in enumerate(zip(readings, alike, strict=True))
        if same
    }
    meta = readings[0].folder.meta
    return Comparison(
        labels=tuple(labelled.values()),
        classes=readings[0].classes,
        methods=methods,
        baseline="0",
        seeds=tuple(dict.fromkeys(seed for method in methods.values() for seed in method.seeds)),
        source=meta["source"],
        target=meta["target"],
        transductive=meta["transductive"],
    )


def _cells(reading: Reading, labelled: Labelled) -> dict[int, Mapping[str, Cell]]:
    head = result_column(reading.folder)
    cells: dict[int, Mapping[str, Cell]] = {}
    for seed, found in reading.predictions.items():
        taken = dict(zip(found.ids, found.predicted[head], strict=True))
        cells[seed] = {_CHOICE: Cell(tuple(taken[video] for video in labelled))}
    return cells

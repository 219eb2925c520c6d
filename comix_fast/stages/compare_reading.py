"""What a comparison reads back: which videos measure, what each run predicts of them, its evaluations."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.cache.reader import CachedVideo, FeatureCache
from comix_fast.comparison import Cell, MethodResult
from comix_fast.errors import CacheError, RunError
from comix_fast.stages import runs
from comix_fast.stages.compared import Method
from comix_fast.stages.results import Line
from comix_fast.stages.road import ADAPT, SUPERVISED, WARMSTART
from comix_fast.stages.runs import RunFolder

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class MeasuredVideos:
    """The videos that accuracy is measured on.

    ids: [V] all of the list, in the order of predictions; places: [L] of the labelled ones, which alone count;
    labels: [L]; classes: names. source, target: names of the domains. transductive: all are training videos.
    """

    ids: tuple[str, ...]
    places: tuple[int, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    source: str
    target: str
    transductive: bool

    def labelled(self, predicted: Sequence[int]) -> tuple[int, ...]:
        """Of the classes of all V videos those of the labelled ones. Raises RunError if they are not V."""
        if len(predicted) != len(self.ids):
            raise RunError(
                f"{len(predicted):,} predictions for {len(self.ids):,} measured videos",
                hint="the cache has changed since: choose another --name",
            )
        return tuple(predicted[place] for place in self.places)


def measured_list(cache: FeatureCache, reverse: bool) -> list[CachedVideo]:
    """The target's test list, or its training videos where it has none: what every method predicts."""
    domain = "source" if reverse else "target"
    return cache.videos(domain, "test" if cache.has_test(domain) else "train")


def measured_videos(cache: FeatureCache, reverse: bool) -> MeasuredVideos:
    """Which videos measure. Raises CacheError if none of them carries a label."""
    source, target = ("target", "source") if reverse else ("source", "target")
    videos = measured_list(cache, reverse)
    places = [place for place, video in enumerate(videos) if video.label is not None]
    if not places:
        raise CacheError(
            f"{cache.path}: none of the {len(videos):,} videos of {cache.names[target]} to measure on has a label",
            ["a comparison measures target accuracy; without labels there is none"],
            hint="comix adapt needs no target labels; to compare, list some labelled ones and run extract again",
        )
    return MeasuredVideos(
        ids=tuple(video.id for video in videos),
        places=tuple(places),
        labels=tuple(label for video in videos if (label := video.label) is not None),
        classes=tuple(cache.classes),
        source=cache.names[source],
        target=cache.names[target],
        transductive={video.id for video in videos} <= {video.id for video in cache.videos(target, "train")},
    )


def last_phase(folder: RunFolder) -> str:
    """The phase that a finished run of this recipe ends with."""
    if folder.recipe.method == "target-supervised":
        return SUPERVISED
    return ADAPT if folder.recipe.adapts else WARMSTART


def lines_of(folder: RunFolder, seeds: Sequence[int]) -> dict[int, list[Line]]:
    """The evaluations of the last phase by seed, for the study of label-free scores; none of a bound."""
    phase = last_phase(folder)
    if phase == SUPERVISED:
        return {}
    found: dict[int, list[Line]] = {}
    for seed in seeds:
        if lines := [line for line in folder.seed(seed).metrics() if line["phase"] == phase]:
            found[seed] = list(lines)
    return found


def trained_result(method: Method, folder: RunFolder, seeds: Sequence[int], measured: MeasuredVideos) -> MethodResult:
    """What a run's heads predict of the labelled videos, under the seeds given.

    Where nothing adapts, the warm-start's last head is also the one chosen without labels. A choice that some seed has
    no predictions of is left out for all. Raises RunError if the run's files are absent or do not fit the cache.
    """
    cells = {seed: _cells(folder, seed, measured) for seed in seeds}
    shared = set.intersection(*(set(one) for one in cells.values())) if cells else set()
    by_seed = {seed: {choice: cell for choice, cell in one.items() if choice in shared} for seed, one in cells.items()}
    return MethodResult(method.title, by_seed, method.family, note=method.note)


def _cells(folder: RunFolder, seed: int, measured: MeasuredVideos) -> dict[str, Cell]:
    files, phase = folder.seed(seed).root, last_phase(folder)
    columns = _read_predictions(files / PREDICTIONS, measured)
    last = runs.SOURCE_ONLY if phase == WARMSTART else runs.LAST
    if last not in columns:
        raise RunError(f"{files / PREDICTIONS} has no column {last!r}", hint="delete the run folder and run it again")
    found = {"last": columns[last]}
    if phase != SUPERVISED:
        found["selected"] = columns.get(runs.SELECTED, columns[last])
        if (best := _oracle(files / runs.oracle_file(phase), phase)) is not None:
            found["oracle"] = best
    return {choice: Cell(measured.labelled(predicted)) for choice, predicted in found.items()}


def _read_predictions(path: Path, measured: MeasuredVideos) -> dict[str, list[int]]:
    """Head -> the class of every measured video, in their order."""
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(measured.classes)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        ids = tuple(row[0] for row in rows)
        columns = {
            head: [numbers[row[place]] for row in rows]
            for place, head in enumerate(header)
            if head not in ("id", "label")
        }
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing", hint="delete the run folder and run it again") from error
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise RunError(
            f"{path} can't be read: {type(error).__name__} {error}", hint="delete the run folder and run it again"
        ) from error
    if ids != measured.ids:
        raise RunError(f"{path} lists other videos than the cache", hint="choose another --name")
    return columns


def _oracle(path: Path, phase: str) -> list[int] | None:
    """What the step with the best target accuracy predicts of every measured video; None where none was kept."""
    if not path.exists():
        return None
    kept: Any = runs.read_json(path)
    try:
        return [int(number) for number in kept["predicted"]] if kept["phase"] == phase else None
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} holds no predictions", hint="delete the run folder and run it again") from error

"""predictions.csv of a seed: what each of its heads says of every measured video."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence

from comix_fast.files import whole_file
from comix_fast.stages import runs
from comix_fast.stages.measuring import predict_logits
from comix_fast.stages.members import Work

PREDICTIONS = "predictions.csv"


def is_finished(work: Work) -> bool:
    """Whether a seed has its heads and says what they predict: the last that it does."""
    wanted = [runs.SOURCE_ONLY, *([runs.LAST] if work.task.recipe.adapts else [])]
    return (work.files.root / PREDICTIONS).exists() and not any(work.lacks(head) for head in wanted)


def write_predictions(work: Work) -> None:
    """Of the heads that are there."""
    task, columns = work.task, {}
    for name in (runs.SOURCE_ONLY, runs.LAST, runs.SELECTED):
        if work.files.head_path(name).exists():
            head = task.folder.load_head(work.seed, name).to(task.device)
            task.road.load(work.files, name)
            columns[name] = predict_logits(head, task.road.seen().measured, task.norms[1]).argmax(dim=1).tolist()
    write_table(work, columns)


def write_table(work: Work, columns: Mapping[str, Sequence[int]]) -> None:
    """predictions.csv: a row for every measured video, a column for each head's classes."""
    bank, classes = work.task.road.seen().measured, work.task.folder.meta["classes"]
    work.files.root.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(work.files.root / PREDICTIONS) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["id", "label", *columns])
        for number, video in enumerate(bank.ids):
            label = int(bank.labels[number])
            predicted = [classes[column[number]] for column in columns.values()]
            writer.writerow([video, classes[label] if label >= 0 else "", *predicted])

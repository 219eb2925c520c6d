"""The study behind the recommended recipe: many small tasks cut from two caches, one table of variants.

    python -m benchmarks.study draw videos/drawn              240 drawn videos, two domains (then: comix extract)
    python -m benchmarks.study run cache/ut cache/drawn       the table of docs/evidence.md
    python -m benchmarks.study run cache/ut cache/drawn --group head --seeds 4

Of the first cache only source → target is used, since the other direction reports; of the second both. Tasks with few
source videos, and targets whose classes are uneven while the source's are even, are where adaptation goes wrong first.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.demo import make_domains
from comix_fast.files import write_json
from comix_fast.presets import RECOMMENDED, TEACHER_WEIGHT
from comix_fast.stages import adapt, runs
from comix_fast.tables import plain_table

DRAWN_SEED, DRAWN_PER_CLASS = 123, 20
PUBLISHED = AdaptRecipe(warmstart_iterations=None, iterations=None)


@dataclass(frozen=True)
class TaskCut:
    """A task cut from a cache. source, target: videos of each class to keep, None for all; reverse: as of adapt."""

    group: str
    cache: int
    seed: int
    source: Sequence[int] | None = None
    target: Sequence[int] | None = None
    reverse: bool = False


TASKS = (
    *(TaskCut("drawn, few", 1, seed, [3] * 6, [8] * 6) for seed in range(3)),
    *(TaskCut("drawn back, few", 1, seed, [2] * 6, [8] * 6, reverse=True) for seed in range(3)),
    *(TaskCut("set1→set2, few", 0, seed, [4] * 6) for seed in range(3)),
    TaskCut("set1→set2, uneven", 0, 0, None, [10, 3, 10, 3, 10, 3]),
    TaskCut("set1→set2, uneven", 0, 1, None, [3, 10, 3, 10, 3, 10]),
    TaskCut("set1→set2, uneven", 0, 2, None, [10, 10, 10, 3, 3, 3]),
    TaskCut("drawn, uneven", 1, 0, [3] * 6, [12, 12, 12, 4, 4, 4]),
    TaskCut("drawn, uneven", 1, 1, [3] * 6, [4, 12, 4, 12, 4, 12]),
    TaskCut("drawn, uneven", 1, 1, [2] * 6, [4, 4, 12, 12, 4, 12], reverse=True),
    TaskCut("set1→set2", 0, 0),
)


def _linear(**changes: Any) -> AdaptRecipe:
    return replace(RECOMMENDED, **changes)


def _teacher(**changes: Any) -> AdaptRecipe:
    return replace(RECOMMENDED, **({"lambda_teacher": TEACHER_WEIGHT} | changes))


VARIANTS: Mapping[str, Mapping[str, AdaptRecipe]] = {
    "head": {
        "graph, source's statistics": replace(PUBLISHED, method="source-only", feature_norm="source"),
        "graph, per domain": replace(PUBLISHED, method="source-only"),
        "linear, mean": _linear(method="source-only", statistics="mean"),
        "linear, mean+max": _linear(method="source-only", statistics="mean+max"),
        "linear, mean+max+std": _linear(method="source-only", statistics="mean+max+std"),
        "linear, all five, source's statistics": _linear(method="source-only", feature_norm="source"),
        "linear, all five, not standardised": _linear(method="source-only", feature_norm="none"),
        "linear, all five": RECOMMENDED,
        "mlp, all five": _linear(method="source-only", head="mlp"),
    },
    "contrast": {
        "linear, BGM, λ 0.1": _linear(lambda_bgm=0.1),
        "linear, BGM, λ 0.01": _linear(lambda_bgm=0.01),
        "linear, BGM, λ 0.001": _linear(lambda_bgm=0.001),
        "linear, TPL, λ 0.01": _linear(lambda_tpl=0.01),
    },
    "teacher": {
        "none": RECOMMENDED,
        "λ 0.03, temperature 0.2, momentum 0.99": _teacher(),
        "λ 0.01": _teacher(lambda_teacher=0.01),
        "λ 0.1": _teacher(lambda_teacher=0.1),
        "λ 1": _teacher(lambda_teacher=1.0),
        "temperature 0.1": _teacher(teacher_temperature=0.1),
        "temperature 0.5": _teacher(teacher_temperature=0.5),
        "temperature 1": _teacher(teacher_temperature=1.0),
        "source's class shares, a quarter": _teacher(prior_weight=0.25),
        "source's class shares": _teacher(prior_weight=1.0),
        "on plain clips": _teacher(mixing=False),
        "momentum 0.9": _teacher(teacher_momentum=0.9),
        "momentum 0.999": _teacher(teacher_momentum=0.999),
        "mlp head": _teacher(head="mlp"),
    },
    "optimiser": {
        "recommended": RECOMMENDED,
        "learning rate 0.03": _linear(lr=0.03),
        "learning rate 0.003": _linear(lr=0.003),
        "batches of 16": _linear(batch_size=16),
        "four times the iterations": _linear(warmstart_iterations=1600),
        "no label smoothing": _linear(label_smoothing=0.0),
    },
}


def cut(caches: Sequence[Path], task: TaskCut, root: Path) -> Path:
    """A cache below `root` that lists just the task's videos; its shards are links to the ones there are."""
    root.mkdir(parents=True)
    origin = caches[task.cache]
    for path in origin.iterdir():
        if path.name != "dataset.json":
            (root / path.name).symlink_to(path.resolve())
    lists = runs.read_json(origin / "dataset.json")
    roles = ("target", "source") if task.reverse else ("source", "target")
    for domain, per_class in zip(roles, (task.source, task.target), strict=True):
        if per_class is not None:
            train = lists[domain]["train"]
            lists[domain]["train"] = [train[number] for number in _picked(train, per_class, task.seed)]
    write_json(root / "dataset.json", lists)
    return root


def _picked(train: Sequence[Sequence[Any]], per_class: Sequence[int], seed: int) -> list[int]:
    rng, labels = np.random.default_rng(seed), np.array([label for _, label in train])
    picked = [
        rng.choice(np.flatnonzero(labels == label), count, replace=False) for label, count in enumerate(per_class)
    ]
    return sorted(int(number) for number in np.concatenate(picked))


def accuracies(recipes: Mapping[str, AdaptRecipe], cache: Path, task: TaskCut, seeds: int, root: Path) -> list[float]:
    """Mean accuracy over seeds at the last step, for each recipe."""
    folders = {
        root / str(number): replace(recipe, seeds=seeds, eval_every=1000, reverse=task.reverse)
        for number, recipe in enumerate(recipes.values())
    }
    done, _ = adapt.run_all(folders, FeatureCache(cache), reporter=Silent())
    rows = [runs.read_json(folder.root / runs.RESULTS)["rows"][-1] for folder in done]
    return [row["last"]["mean"] for row in rows]


def study(caches: Sequence[Path], groups: Sequence[str], seeds: int) -> None:
    """Prints a row for each variant: mean accuracy in each group of tasks, and over all tasks."""
    console = Console(width=200, highlight=False)
    columns = list(dict.fromkeys(task.group for task in TASKS))
    for name in groups:
        recipes, found = VARIANTS[name], []
        with tempfile.TemporaryDirectory() as folder:
            for number, task in enumerate(TASKS):
                root = Path(folder) / str(number)
                (root / "runs").mkdir(parents=True)
                found.append(accuracies(recipes, cut(caches, task, root / "cache"), task, seeds, root / "runs"))
        values = 100 * np.array(found)
        rows = []
        for place, variant in enumerate(recipes):
            means = [values[[task.group == column for task in TASKS], place].mean() for column in columns]
            rows.append([variant, *(f"{mean:.1f}" for mean in (*means, values[:, place].mean()))])
        console.print(f"{name}: target accuracy in %, last step, {seeds} seeds, mean over the tasks of a group")
        console.print(plain_table(["", *columns, "all tasks"], rows))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="The study behind the recommended recipe.")
    commands = parser.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("draw", help="draw the second pair of domains")
    draw.add_argument("folder", type=Path)
    run = commands.add_parser("run", help="print the tables")
    run.add_argument("first", type=Path, help="cache of UT-Interaction, set1 and set2")
    run.add_argument("second", type=Path, help="cache of the drawn videos")
    run.add_argument("--group", action="append", choices=VARIANTS, help="only these tables")
    run.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    if asked.command == "draw":
        print(make_domains(asked.folder, DRAWN_SEED, DRAWN_PER_CLASS))
    else:
        study([asked.first, asked.second], asked.group or list(VARIANTS), asked.seeds)


if __name__ == "__main__":
    main()

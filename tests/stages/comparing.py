"""Short comparisons, and what tests read of their folders."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from comix_fast.cache import FeatureCache
from comix_fast.cache.format import DATASET
from comix_fast.cache.stored_json import read_marked, write_marked
from comix_fast.console import Advance, Silent
from comix_fast.stages import compare
from comix_fast.stages.compare import Compared
from comix_fast.stages.compared import Method, Schedule, parse_methods

SHORT = Schedule(seeds=2, warmstart_iterations=6, iterations=4, eval_every=2)
# Hard enough that methods differ.
HARD = {"noise": 5.0, "shift": 2.0}


class Shown(Silent):
    """Keeps what is said, warned of and worked on."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.bars: list[tuple[str, int]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        self.bars.append((what, total))
        yield lambda done: None


def compared(
    cache: Path,
    root: Path,
    methods: str | Sequence[Method] | None,
    reporter: Silent | None = None,
    **changes: Any,
) -> Compared:
    chosen = methods if isinstance(methods, list | tuple) else parse_methods(methods)  # type: ignore[arg-type]
    schedule = replace(SHORT, **changes)
    return compare.run(chosen, schedule, FeatureCache(cache), root, reporter=reporter or Silent())


def content(root: Path, name: str = "compare.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / name).read_text(encoding="utf-8"))
    return found


def accuracies(root: Path, choice: str) -> dict[str, float]:
    return {row["name"]: row[choice]["mean"] for row in content(root)["rows"] if row[choice]}


def edited_lists(cache: Path, **changes: Any) -> None:
    path = cache / DATASET
    write_marked(path, "comix-dataset", {**read_marked(path, "comix-dataset"), **changes})


def share_right(rows: Sequence[dict[str, str]], column: str) -> float:
    known = [row for row in rows if row["label"]]
    return sum(row[column] == row["label"] for row in known) / len(known)


def predictions(folder: Path, seed: int) -> list[dict[str, str]]:
    with (folder / f"seed-{seed}" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines(folder: Path, seed: int, phase: str) -> list[dict[str, Any]]:
    texts = (folder / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, texts) if line["phase"] == phase]

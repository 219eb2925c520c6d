"""Several runs beside the first: the points are plain differences, the interval is that of comix compare."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import SHORT, adapted, edit_json, gathered

from builders import MakeCache
from comix_fast.comparison.bootstrap import N_DRAWS, draws

ALONE = replace(SHORT, lambda_teacher=0.0, iterations=0)


@pytest.fixture
def cache(make_cache: MakeCache) -> Path:
    return make_cache()


def _mistake(run: Path, how_many: dict[int, int]) -> None:
    """The first videos of a seed taken for another class."""
    for seed, wrong in how_many.items():
        path = run / f"seed-{seed}" / "predictions.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        classes = sorted({row["label"] for row in rows})
        for row in rows[:wrong]:
            row["source-only"] = next(name for name in classes if name != row["label"])
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _right(run: Path, seed: int, head: str) -> dict[str, bool]:
    with (run / f"seed-{seed}" / "predictions.csv").open(newline="") as file:
        return {row["id"]: row["label"] == row[head] for row in csv.DictReader(file) if row["label"]}


def test_points_and_interval_by_plain_loops(cache: Path, tmp_path: Path) -> None:
    first, other = adapted(cache, tmp_path / "first", ALONE), adapted(cache, tmp_path / "other", SHORT)
    _mistake(first, {0: 7, 1: 4})
    values = gathered(first, other)["runs"]
    assert values[0]["over_first"] is None
    told = values[1]["over_first"]
    before = [_right(first, seed, "source-only") for seed in (0, 1)]
    after = [_right(other, seed, "last") for seed in (0, 1)]
    videos = list(before[0])

    def accuracy(rights: list[dict[str, bool]], of: list[int], seeds: list[int]) -> float:
        return sum(rights[seed][videos[video]] for seed in seeds for video in of) / len(of) / len(seeds)

    everything = list(range(len(videos)))
    difference = accuracy(after, everything, [0, 1]) - accuracy(before, everything, [0, 1])
    assert told["points"] == pytest.approx(100 * difference, abs=1e-9)
    assert told["points"] > 0
    few = []
    for drawn in draws(len(videos), 2):
        for picked, seeds in zip(drawn.videos[:500].tolist(), drawn.seeds[:500].tolist(), strict=True):
            few.append(accuracy(after, picked, seeds) - accuracy(before, picked, seeds))
    few.sort()
    # The whole has 10,000 draws, these are the first of them: near, and on the same side.
    assert len(few) < N_DRAWS
    assert told["low"] == pytest.approx(100 * few[round(0.025 * len(few))], abs=4)
    assert told["high"] == pytest.approx(100 * few[round(0.975 * len(few))], abs=4)
    assert told["low"] < told["points"] < told["high"]


def test_a_run_beside_itself_gains_nothing(cache: Path, tmp_path: Path) -> None:
    runs = [adapted(cache, tmp_path / name, ALONE) for name in ("a", "b")]
    assert gathered(*runs)["runs"][1]["over_first"] == {"points": 0, "low": 0, "high": 0}


def test_what_was_measured_otherwise_is_not_compared(cache: Path, tmp_path: Path) -> None:
    first, again, other = (adapted(cache, tmp_path / name, ALONE) for name in ("a", "b", "c"))
    for seed in (0, 1):
        path = other / f"seed-{seed}" / "predictions.csv"
        header, *lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([header, *lines[1:]]))
    assert [run["over_first"] is None for run in gathered(first, again, other)["runs"]] == [True, False, True]
    assert gathered(other, first)["runs"][1]["over_first"] is None


def test_other_classes_are_not_compared(cache: Path, tmp_path: Path) -> None:
    first, other = (adapted(cache, tmp_path / name, ALONE) for name in ("a", "b"))
    names = gathered(other)["runs"][0]["classes"]
    edit_json(other / "run.json", lambda meta: meta.update(classes=[*names, "another"]))
    assert gathered(first, other)["runs"][1]["over_first"] is None

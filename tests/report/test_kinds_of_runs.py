"""Runs that are not as most are: begun with another's head, diverged, of many classes, with names that mislead."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import SHORT, adapted, edit_json, gathered, of_one

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.report.gathering import MapAsked
from comix_fast.report.gathering.plain import plain
from comix_fast.report.page import embedded_json
from comix_fast.stages import adapt
from comix_fast.stages.confusions import Predictions
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import start_of

OVERRIDE = "abc\u202ecba"
LINES = "seed-1/metrics.jsonl"


def begun(cache: Path, first: Path, root: Path, recipe: AdaptRecipe) -> Path:
    """A run that begins with the head that another hands on."""
    start, kept = start_of(RunFolder(first)), {"from_run": str(first.resolve())}
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent(), start=start, kept=kept).root


def test_a_head_that_a_run_began_with_is_not_called_source_only(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    first = adapted(cache, tmp_path / "first")
    cold = begun(cache, first, tmp_path / "cold", replace(SHORT, warmstart_iterations=0))
    warm = begun(cache, first, tmp_path / "warm", SHORT)
    values = gathered(first, cold, warm, maps=MapAsked(k=3))
    names = ["source-only", "the head it began with", "the head after the warm-start"]
    for run, name in zip(values["runs"], names, strict=True):
        assert run["head_names"]["source-only"] == name
        assert [row["name"] for row in run["rows"]] == [name, "+ teacher"]
        labels = {space["name"]: space["label"] for space in run["map"]["spaces"]}
        assert ("trained on the source" in labels["source-only"]) == (run["name"] == "first")
        assert (run["began_with"] is None) == (run["name"] == "first")
    start = RunFolder(cold).meta["start"]
    fields = {field["name"]: field["values"] for field in values["differences"]["fields"]}
    assert fields["start"] == ["—", *[f"first (sha256 {start[:12]})"] * 2]
    assert str(tmp_path) not in "".join(row["value"] for run in values["runs"] for row in run["recipe"])


def test_a_run_that_only_measures_the_head_it_began_with(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    measured = replace(SHORT, warmstart_iterations=0, iterations=0, lambda_teacher=0.0)
    run = of_one(begun(cache, adapted(cache, tmp_path / "first"), tmp_path / "run", measured))
    assert run["method"] == run["rows"][0]["name"] == "the head it began with"
    assert run["heads"] == ["source-only"]


def test_what_else_decides_a_run_s_heads_is_compared(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    one, two = adapted(cache, tmp_path / "one"), adapted(cache, tmp_path / "two")
    edit_json(two / "run.json", lambda meta: meta.update(draws="1", methods="0", device="cuda"))
    fields = {field["name"]: field["values"] for field in gathered(one, two)["differences"]["fields"]}
    assert fields == {"device": ["cpu", "cuda"], "draws version": ["2", "1"], "methods version": ["1", "0"]}


def test_matrices_of_many_classes_stay_small() -> None:
    """Dense, 30 matrices of 400 classes take 9.6 MB."""
    rng = random.Random(0)
    labels = tuple(rng.randrange(400) for _ in range(1600))
    pairs = []
    for _ in range(30):
        taken = tuple(label if rng.random() < 0.6 else rng.randrange(400) for label in labels)
        found = Predictions(tuple(map(str, range(1600))), labels, {"last": taken})
        pairs.append(found.pairs("last"))
        dense = found.counts("last", 400)
        assert sum(dense[true][other] == count for true, other, count in pairs[-1]) == len(pairs[-1])
        assert sum(map(sum, dense)) == sum(count for *_, count in pairs[-1]) == 1600
    assert len(embedded_json(pairs)) < 500_000


@pytest.mark.parametrize(("total", "lost"), [(8e32, True), (float("nan"), True), (2.5, False)])
def test_a_seed_that_diverged_is_promised_nothing(
    make_cache: MakeCache, tmp_path: Path, total: float, lost: bool
) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    (run / "seed-1" / "predictions.csv").unlink()
    lines = (run / LINES).read_text().splitlines()
    (run / LINES).write_text("\n".join([*lines[:-1], json.dumps(json.loads(lines[-1]) | {"total": total})]) + "\n")
    (note,) = of_one(run)["notes"]
    assert f"seed 1: adapt, step 20, loss {total:.3g}" in note
    assert ("the command that began the run ends there again" in note) == lost
    assert ("goes on" in note) != lost


def test_names_that_would_turn_text_about_are_written_out(make_cache: MakeCache, tmp_path: Path) -> None:
    run = adapted(make_cache(), tmp_path / f"run-{OVERRIDE}")
    edit_json(run / "run.json", lambda meta: meta.update(source=OVERRIDE, notes=[OVERRIDE], warnings=[f"{OVERRIDE}\n"]))
    values = gathered(run, maps=MapAsked(k=3))
    assert "\\u202e" not in embedded_json(values).replace("\\\\u202e", "")
    (told,) = values["runs"]
    assert told["source"] == r"abc\u202ecba" and told["warnings"] == [r"abc\u202ecba\n"]


def test_texts_that_differ_stay_two() -> None:
    values = {
        "videos": [{"id": "a\u202e"}, {"id": r"a\u202e"}, {"id": "a\u202e"}, {"id": r"a\u202e (2)"}],
        "n": [1.5, None],
    }
    shown = plain(values)
    assert [video["id"] for video in shown["videos"]] == [
        r"a\u202e", r"a\u202e (2)", r"a\u202e", r"a\u202e (2) (2)",
    ]  # fmt: skip
    assert shown["n"] == [1.5, None]
    assert values["videos"][0]["id"] == "a\u202e"


def test_the_note_on_size_advises_what_helps(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    one, two = adapted(cache, tmp_path / "one"), adapted(cache, tmp_path / "two", replace(SHORT, lambda_teacher=0.3))

    def note(*runs: Path, of_runs: int, of_map: int, maps: MapAsked | None = None) -> str:
        def size(values: dict[str, object]) -> int:
            shown: list[dict[str, object]] = values["runs"]  # type: ignore[assignment]
            return sum(of_runs + (of_map if run["map"] else 0) for run in shown)

        (found,) = [note for note in gathered(*runs, maps=maps, cap=1_000_000, size=size)["notes"] if "--max" in note]
        return found

    assert note(one, of_runs=5_000_000, of_map=0).endswith("more than the 1.0 MB of --max-size: allow --max-size 5.1")
    several = note(one, two, of_runs=900_000, of_map=0)
    assert "name fewer runs, or allow --max-size 1.9" in several and "--map-videos" not in several
    mapped = note(one, of_runs=900_000, of_map=400_000, maps=MapAsked(k=3))
    assert "fewer --map-videos, or allow --max-size 1.4" in mapped
    assert "--map-videos" not in note(one, of_runs=1_100_000, of_map=400_000, maps=MapAsked(k=3))


def test_the_only_head_of_a_run_is_called_as_its_row(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    for norm, name in (("domain", "standardised per domain"), ("source", "source-only")):
        alone = replace(SHORT, lambda_teacher=0.0, feature_norm=norm)
        values = of_one(adapted(cache, tmp_path / norm, alone))
        assert values["head_names"]["source-only"] == name == values["rows"][0]["name"]

"""What people read: nothing in a name acts as markup, and nothing is claimed that was not measured."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console, RenderableType

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.commands import adapt as adapt_command
from comix_fast.commands import sweep as sweep_command
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.stages import ablation, retrieve, sweep
from comix_fast.tables import cache_table, plain_table, retrieval_tables, sweep_table

SHORT = AdaptRecipe(warmstart_iterations=4, iterations=4, batch_size=6, hidden_dim=8, eval_every=4)


def shown(table: RenderableType, width: int = 200) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, emoji=False).print(table)
    return stream.getvalue()


def test_names_are_shown_as_they_are() -> None:
    text = shown(plain_table(("[b]class[/b]", "x"), [["[red]a[/red]", ":car:"], ["[/]", "1"]]))
    for name in ("[b]class[/b]", "[red]a[/red]", ":car:", "[/]"):
        assert name in text


def test_an_ablation_is_one_table_with_every_row_once(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    runs = ablation.run(SHORT, FeatureCache(cache), tmp_path / "run", reporter=Silent())
    lines = shown(adapt_command.closing(runs, cache), 600).splitlines()
    assert lines[0].startswith("target accuracy in %, source domain → target domain, one seed, so no interval")
    names = [line.split("  ")[0] for line in lines[2:7]]
    assert names == ["source-only", "+ TCL", "+ BGM", "+ BGM + TPL", "target-supervised"]
    assert any("5 folds" in line for line in lines)
    assert lines[-3] == f"next: comix report {tmp_path / 'run'}"
    assert lines[-2] == f"or:   comix retrieve --from-cache {cache} --run {runs[2].root} --html"
    assert lines[-1] == f"or:   comix predict {runs[2].root} VIDEOS"


def test_without_target_labels_nothing_is_claimed(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(target_labels=[None] * 18)
    runs = ablation.run(SHORT, FeatureCache(cache), tmp_path / "run", reporter=Silent())
    text = shown(adapt_command.closing(runs, cache))
    assert "target domain has no labels, so there is no accuracy; see predictions.csv" in text
    assert "±" not in text
    summary = shown(cache_table(FeatureCache(cache).summary()))
    assert "none: no target video to measure on carries a label" in summary
    assert "transductive" not in summary
    found = retrieve.run(FeatureCache(cache), tmp_path / "found.json", k=2)
    text = shown(retrieval_tables(found, 1))
    assert "no labels to score with" in text
    assert "unlabelled" in text


def test_videos_that_are_missing_are_counted(make_cache: MakeCache) -> None:
    cache = make_cache()
    next((cache / "shards").glob("source-*.h5")).unlink()
    reader = FeatureCache(cache)
    assert (reader.n_missing("source"), reader.n_missing("target")) == (18, 0)
    assert "0 videos of source domain, 18 missing" in shown(cache_table(reader.summary()))


def test_a_sweep_is_one_line_a_point_and_marks_the_one_chosen(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    grid = sweep.parse_grid(["lr=0.01,1e30", "mixing=true,false"])
    done = sweep.run(SHORT, grid, FeatureCache(cache), tmp_path / "sweep", reporter=Silent())
    lines = shown(sweep_command.closing(done, cache)).splitlines()
    assert lines[0].startswith("target accuracy in %, source domain → target domain, one seed, so no interval")
    assert lines[1].split() == [
        *("lr", "mixing", "InfoMax", "last", "chosen", "without", "labels"),
        *("oracle", "(peeks", "at", "target", "labels)"),
    ]
    found = sweep.to_json(done)
    marked = [line for line in lines[2:6] if "* " in line]
    assert len(marked) == 1
    rate, mixing = marked[0].split()[:2]
    assert found["chosen_without_labels"] == f"lr={rate},mixing={mixing}"
    for line, entry in zip(lines[2:4], found["points"], strict=False):
        row = entry["results"]["rows"][-1]
        score, *accuracies = line.replace("* ", "").split()[2:]
        assert score == f"{row['selected']['score'][0]:.3f}"
        means = [100 * row[choice]["mean"] for choice in ("last", "selected", "oracle")]
        assert accuracies == [f"{mean:.1f}" for mean in means]
    assert [line.split()[:4] for line in lines[4:6]] == [["1e+30", m, "given", "up"] for m in ("True", "False")]
    assert any("transductive" in line for line in lines)
    assert sum(line.startswith("given up: lr=1e+30,mixing=") for line in lines) == 2
    chosen = tmp_path / "sweep" / found["chosen_without_labels"]
    assert lines[-1] == f"next: comix retrieve --from-cache {cache} --run {chosen}"


def test_a_sweep_claims_nothing_it_did_not_measure(make_cache: MakeCache, tmp_path: Path) -> None:
    unlabelled = FeatureCache(make_cache(target_labels=[None] * 18))
    done = sweep.run(SHORT, sweep.parse_grid(["lr=0.01,0.02"]), unlabelled, tmp_path / "bare", reporter=Silent())
    lines = shown(sweep_table(sweep.to_json(done))).splitlines()
    assert [line.replace("* ", "").split()[2:] for line in lines[2:4]] == [["–", "–", "–"]] * 2
    assert any("has no labels, so there is no accuracy" in line for line in lines)
    wild = sweep.run(SHORT, sweep.parse_grid(["lr=1e30"]), unlabelled, tmp_path / "wild", reporter=Silent())
    text = shown(sweep_command.closing(wild, tmp_path))
    assert text.startswith("no point was finished")
    assert "given up: lr=1e+30, seed 0: the loss is not finite" in text
    assert "comix retrieve" not in text

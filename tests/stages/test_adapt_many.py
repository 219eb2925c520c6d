"""Many seeds and runs in one call: each as alone, resumed to the same bytes, sharing warm-starts where they agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from builders import Interrupting, MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Advance, Silent
from comix_fast.errors import RunError
from comix_fast.stages import adapt

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = AdaptRecipe(warmstart_iterations=30, iterations=20, batch_size=6, hidden_dim=16, eval_every=10)
EXACT = replace(SHORT, precision="fp32")


class Shown(Silent):
    """Keeps what each progress bar was for, its total and how far it came."""

    def __init__(self) -> None:
        self.bars: list[list[object]] = []

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        bar: list[object] = [what, total, 0]
        self.bars.append(bar)

        def advance(done: int) -> None:
            bar[2] += done  # type: ignore[operator]

        yield advance


def written(root: Path) -> dict[str, bytes]:
    """Everything below a run but run.json, which holds the path of the cache and the number of seeds."""
    kept = (".safetensors", ".jsonl", ".csv")
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.suffix in kept}


def adapted(recipe: AdaptRecipe, cache: Path, root: Path) -> dict[str, bytes]:
    return written(adapt.run(recipe, FeatureCache(cache), root, reporter=Silent()).root)


@pytest.mark.parametrize("mixing", [True, False])
def test_seeds_trained_together_are_those_trained_one_by_one(
    make_cache: MakeCache, tmp_path: Path, mixing: bool
) -> None:
    cache, recipe = make_cache(), replace(EXACT, mixing=mixing)
    adapted(replace(recipe, seeds=4), cache, tmp_path / "together")
    heads = []
    for seed in range(4):
        adapted(replace(recipe, seed=seed), cache, tmp_path / f"alone-{seed}")
        for name in ("source-only", "last", "selected"):
            where = f"seed-{seed}/{name}.safetensors"
            ours, theirs = load_file(tmp_path / "together" / where), load_file(tmp_path / f"alone-{seed}" / where)
            for part, value in ours.items():
                torch.testing.assert_close(value, theirs[part], atol=1e-4, rtol=0, msg=f"{where} {part}")
        lines = [
            [json.loads(text) for text in (tmp_path / run / f"seed-{seed}/metrics.jsonl").read_text().splitlines()]
            for run in ("together", f"alone-{seed}")
        ]
        assert len(lines[0]) == len(lines[1]) == 5
        for one, other in zip(*lines, strict=True):
            # Ranks and shares among few videos may jump where logits differ in their last digits.
            scores, theirs = one.pop("scores"), other.pop("scores")
            assert scores.keys() == theirs.keys()
            assert scores["entropy"] == pytest.approx(theirs["entropy"], abs=1e-4)
            assert one.pop("pseudo").keys() == other.pop("pseudo").keys()
            assert one == pytest.approx(other, abs=1e-4)
        heads.append(load_file(tmp_path / "together" / f"seed-{seed}/last.safetensors")["gc3.weight"])
    assert not torch.allclose(heads[0], heads[1], atol=0.01)


# Three heads: each advances once when it begins, and at every report: 3 + 9 times, then 3 + 6.
@pytest.mark.parametrize(
    ("after", "n_threads"),
    [*((after, 1) for after in (2, 4, 5, 6, 12, 13, 16, 18, 21)), *((after, 2) for after in (5, 9, 17, 20))],
)
def test_seeds_interrupted_anywhere_end_with_the_very_same_bytes(
    make_cache: MakeCache, tmp_path: Path, torch_threads: Callable[[int], None], after: int, n_threads: int
) -> None:
    cache, recipe = make_cache(), replace(SHORT, seeds=3)
    whole = adapted(recipe, cache, tmp_path / "whole")
    torch_threads(n_threads)
    with pytest.raises(KeyboardInterrupt):
        adapt.run(recipe, FeatureCache(cache), tmp_path / "cut", reporter=Interrupting(after))
    assert not (tmp_path / "cut" / "results.json").exists()
    assert adapted(recipe, cache, tmp_path / "cut") == whole
    assert len([name for name in whole if name.endswith("last.safetensors")]) == 3


def test_two_interruptions_are_no_worse_than_one(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, recipe = make_cache(), replace(SHORT, seeds=3)
    for after in (5, 8):
        with pytest.raises(KeyboardInterrupt):
            adapt.run(recipe, FeatureCache(cache), tmp_path / "cut", reporter=Interrupting(after))
    assert adapted(recipe, cache, tmp_path / "cut") == adapted(recipe, cache, tmp_path / "whole")


def test_lines_written_after_the_last_checkpoint_are_dropped(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    with pytest.raises(KeyboardInterrupt):
        adapt.run(SHORT, FeatureCache(cache), tmp_path / "cut", reporter=Interrupting(2))
    path = tmp_path / "cut/seed-0/metrics.jsonl"
    (line,) = path.read_text().splitlines()
    # As a kill leaves it between a line and its checkpoint, the next line cut short.
    path.write_text(
        line + "\n" + json.dumps(json.loads(line) | {"iteration": 20, "infomax": 9.0}) + '\n{"seed": 0, "ph'
    )
    assert adapted(SHORT, cache, tmp_path / "cut") == adapted(SHORT, cache, tmp_path / "whole")


def test_more_seeds_leave_the_first_ones_as_they_are(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, root = make_cache(), tmp_path / "run"
    two = adapted(replace(SHORT, seeds=2), cache, root)
    times = {path: path.stat().st_mtime_ns for path in root.glob("seed-*/*.safetensors")}
    shown = Shown()
    adapt.run(replace(SHORT, seeds=4), FeatureCache(cache), root, reporter=shown)
    assert shown.bars == [["2 heads: warm-start", 60, 60], ["2 heads: adaptation", 40, 40]]
    four = written(root)
    assert {name: content for name, content in four.items() if name in two} == two
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert json.loads((root / "results.json").read_text())["seeds"] == [0, 1, 2, 3]
    assert four == adapted(replace(SHORT, seeds=4), cache, tmp_path / "at-once")


def test_a_resumed_bar_begins_where_the_run_was_left(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, shown = make_cache(), Shown()
    with pytest.raises(KeyboardInterrupt):
        adapt.run(SHORT, FeatureCache(cache), tmp_path / "run", reporter=Interrupting(3))
    adapt.run(SHORT, FeatureCache(cache), tmp_path / "run", reporter=shown)
    assert shown.bars == [["seed 0: warm-start", 30, 30], ["seed 0: adaptation", 20, 20]]
    again = Shown()
    adapt.run(SHORT, FeatureCache(cache), tmp_path / "run", reporter=again)
    assert again.bars == []


def test_runs_that_agree_warm_start_once(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, shown = make_cache(), Shown()
    agree = [SHORT, replace(SHORT, lambda_bgm=0.5), replace(SHORT, temperature=0.1, pseudo_threshold=0.5)]
    agree += [replace(SHORT, mixing=False), replace(SHORT, method="source-only"), replace(SHORT, iterations=10)]
    others = [replace(SHORT, lr=0.02), replace(SHORT, dropout=0.0), replace(SHORT, eval_every=5)]
    recipes = {tmp_path / f"run-{number}": recipe for number, recipe in enumerate([*agree, *others])}
    folders, lost = adapt.run_all(recipes, FeatureCache(cache), reporter=shown)
    assert lost == []
    assert [folder.root for folder in folders] == list(recipes)
    assert shown.bars[0] == ["4 heads: warm-start", 4 * 30, 4 * 30]
    assert shown.bars[1] == ["8 heads: adaptation", 7 * 20 + 10, 7 * 20 + 10]
    starts = [written(folder.root)["seed-0/source-only.safetensors"] for folder in folders]
    assert set(starts[:6]) == {starts[0]}
    # The rate and dropout decide the head; how often it is measured does not.
    assert len({starts[0], starts[6], starts[7]}) == 3
    assert starts[8] == starts[0]
    for (root, recipe), folder in zip(recipes.items(), folders, strict=True):
        if recipe in (agree[1], agree[4], others[2]):
            # Whoever shares a warm-start is what it would have been by itself, to the byte.
            assert written(folder.root) == adapted(recipe, cache, tmp_path / f"alone-{root.name}")
    last = [written(folder.root).get("seed-0/last.safetensors") for folder in folders]
    assert len(set(last)) == len(folders) - 1
    assert last[8] == last[0]


def test_runs_that_share_a_warm_start_are_resumed_from_any_side(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    recipes = {tmp_path / "one": SHORT, tmp_path / "two": replace(SHORT, lambda_bgm=0.5)}
    whole = {root.name: adapted(recipe, cache, tmp_path / f"whole-{root.name}") for root, recipe in recipes.items()}
    adapted(SHORT, cache, tmp_path / "one")
    shown = Shown()
    adapt.run_all(recipes, FeatureCache(cache), reporter=shown)
    assert [bar[0] for bar in shown.bars] == ["seed 0: adaptation"]
    assert {root.name: written(root) for root in recipes} == whole


def test_a_seed_that_is_given_up_leaves_the_others_their_heads(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    wild = replace(EXACT, lr=1e30, feature_norm="none", seeds=2)
    recipes = {"well": replace(EXACT, seeds=2), "wild": wild, "as-wild": replace(wild, lambda_bgm=0.5)}
    folders, lost = adapt.run_all(
        {tmp_path / name: recipe for name, recipe in recipes.items()}, FeatureCache(cache), reporter=Silent()
    )
    # Runs that would have shared a warm-start share its loss.
    assert [(one.folder.root.name, one.seed) for one in lost] == [(n, s) for n in ("wild", "as-wild") for s in (0, 1)]
    assert all("not finite after 10 iterations of warmstart" in one.error.message for one in lost)
    assert written(folders[0].root) == adapted(recipes["well"], cache, tmp_path / "alone")
    assert (folders[0].root / "results.json").exists()
    for folder in folders[1:]:
        assert not (folder.root / "results.json").exists()
        assert not list(folder.root.glob("seed-*/*.safetensors"))
    with pytest.raises(RunError, match=r"\(seed 0\)"):
        adapt.run(wild, FeatureCache(cache), tmp_path / "wild", reporter=Silent())


def test_heads_lost_while_adapting_do_not_stop_those_that_shared_their_warm_start(
    make_cache: MakeCache, tmp_path: Path
) -> None:
    recipes = {tmp_path / "well": SHORT, tmp_path / "wild": replace(SHORT, lambda_bgm=1e38)}
    (well, wild), lost = adapt.run_all(recipes, FeatureCache(make_cache()), reporter=Silent())
    assert [(one.folder, one.seed) for one in lost] == [(wild, 0)]
    assert "of adapt (seed 0)" in lost[0].error.message
    assert written(well.root) == adapted(SHORT, tmp_path / "cache", tmp_path / "alone")
    assert (wild.root / "seed-0/source-only.safetensors").exists()


def test_the_bounds_of_several_seeds_are_trained_together(make_cache: MakeCache, tmp_path: Path) -> None:
    cache, shown = make_cache(), Shown()
    recipe = replace(EXACT, method="target-supervised", seeds=3)
    run = adapt.run(recipe, FeatureCache(cache), tmp_path / "run", reporter=shown)
    assert shown.bars == [["target-supervised bound", 15, 15]]
    (row,) = json.loads((run.root / "results.json").read_text())["rows"]
    for seed in range(3):
        alone = adapt.run(replace(recipe, seed=seed, seeds=1), FeatureCache(cache), tmp_path / "a", reporter=Silent())
        (theirs,) = json.loads((alone.root / "results.json").read_text())["rows"]
        assert row["last"]["accuracy"][seed] == pytest.approx(theirs["last"]["accuracy"][0])
    again = Shown()
    adapt.run(recipe, FeatureCache(cache), tmp_path / "run", reporter=again)
    assert again.bars == []

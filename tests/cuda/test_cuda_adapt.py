"""Stage two on a GPU: every method ends, learns what the CPU learns, and goes on where it was cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from builders import Ended, Interrupting, MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.errors import OutOfTime
from comix_fast.presets import RECOMMENDED
from comix_fast.retrieval import search
from comix_fast.retrieval.candidates import candidates
from comix_fast.retrieval.vectors import l2_normalise
from comix_fast.stages import adapt, runs
from comix_fast.stages.runs import RunFolder
from stopping_after import Stopping

SHORT = replace(
    RECOMMENDED, warmstart_iterations=12, iterations=12, eval_every=4, batch_size=6, hidden_dim=16, lambda_teacher=1.0
)
GRAPH = AdaptRecipe(warmstart_iterations=12, iterations=12, eval_every=4, batch_size=6, hidden_dim=16, dropout=0.1)
METHODS: dict[str, AdaptRecipe] = {
    "teacher": SHORT,
    "teacher, plain clips": replace(SHORT, mixing=False),
    "published, fp32": replace(GRAPH, precision="fp32"),
    "published, auto": GRAPH,
    "published, teacher": replace(GRAPH, lambda_teacher=0.1),
    "mlp, dropout": replace(SHORT, head="mlp", dropout=0.3),
    "dann": replace(SHORT, method="dann"),
    "mcd": replace(SHORT, method="mcd", head="mlp"),
    "adamatch": replace(SHORT, method="adamatch", head="mlp"),
    "coral": replace(SHORT, method="coral", lambda_align=1e-3),
    "mmd": replace(SHORT, method="mmd"),
    "self-training": replace(SHORT, method="self-training", pseudo_threshold=0.4),
    "source-only": replace(SHORT, method="source-only"),
    "target-supervised": replace(SHORT, method="target-supervised"),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def adapted(recipe: AdaptRecipe, cache: Path, root: Path, **where: Any) -> RunFolder:
    return adapt.run(recipe, FeatureCache(cache), root, **({"reporter": Silent(), "device": "cuda"} | where))


def written(root: Path) -> dict[str, bytes]:
    """Everything below a run but run.json, which holds the path of the cache."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != runs.RUN]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def heads(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in written(root).items() if name.endswith(".safetensors")}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_cut_at_a_report_ends_with_the_very_same_bytes(
    make_cache: MakeCache, tmp_path: Path, name: str
) -> None:
    cache, recipe = make_cache(), METHODS[name]
    whole = adapted(recipe, cache, tmp_path / "whole")
    assert whole.meta["device"] == "cuda"
    n_reports = 3 if recipe.adapts or recipe.method == "source-only" else 1
    for after in (n_reports + 1, n_reports):
        with pytest.raises(KeyboardInterrupt):
            adapted(recipe, cache, tmp_path / "cut", reporter=Interrupting(after))
            raise KeyboardInterrupt  # A method of few reports has ended before.
    adapted(recipe, cache, tmp_path / "cut")
    assert written(tmp_path / "cut") == written(whole.root)


@pytest.mark.parametrize("name", ["teacher", "published, fp32", "published, auto", "mlp, dropout", "dann"])
def test_seeds_cut_by_the_clock_end_with_the_very_same_bytes(make_cache: MakeCache, tmp_path: Path, name: str) -> None:
    cache, recipe = make_cache(), replace(METHODS[name], seeds=3)
    whole = written(adapted(recipe, cache, tmp_path / "whole").root)
    assert written(adapted(recipe, cache, tmp_path / "again").root) == whole
    for after in (5, 9):
        with pytest.raises(OutOfTime):
            adapted(recipe, cache, tmp_path / "cut", stop=Stopping(after))
    assert written(adapted(recipe, cache, tmp_path / "cut").root) == whole


def test_seeds_cut_between_two_reports_of_one_step_end_alike(make_cache: MakeCache, tmp_path: Path) -> None:
    """One seed is then further than the other, they go on apart, and a product of one head rounds otherwise."""
    cache, recipe = make_cache(), replace(METHODS["published, fp32"], seeds=2, dropout=0.0)
    whole = adapted(recipe, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        adapted(recipe, cache, tmp_path / "cut", reporter=Interrupting(3))
    cut = adapted(recipe, cache, tmp_path / "cut")
    for seed in (0, 1):
        ours, theirs = (load_file(run.seed(seed).head_path(runs.LAST)) for run in (cut, whole))
        for part, value in ours.items():
            torch.testing.assert_close(value, theirs[part], atol=1e-4, rtol=0, msg=f"seed {seed}: {part}")


@pytest.mark.parametrize("name", ["teacher", "published, fp32", "published, auto"])
def test_mapped_features_give_the_bytes_of_loaded_ones(make_cache: MakeCache, tmp_path: Path, name: str) -> None:
    cache = make_cache()
    found = [adapted(METHODS[name], cache, tmp_path / memory, memory=memory).root for memory in ("load", "map")]
    assert written(found[0]) == written(found[1])


@pytest.mark.parametrize("name", ["teacher, plain clips", "coral", "dann", "published, fp32"])
def test_without_dropout_the_head_is_the_cpus_up_to_rounding(make_cache: MakeCache, tmp_path: Path, name: str) -> None:
    cache, recipe = make_cache(), replace(METHODS[name], dropout=0.0)
    ours, theirs = (adapted(recipe, cache, tmp_path / device, device=device) for device in ("cuda", "cpu"))
    for head in (runs.SOURCE_ONLY, runs.LAST):
        values = [load_file(run.seed(0).head_path(head)) for run in (ours, theirs)]
        for part, value in values[0].items():
            torch.testing.assert_close(value, values[1][part], atol=2e-4, rtol=0, msg=f"{head} {part}")


def test_seeds_together_are_each_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache()
    together = adapted(replace(GRAPH, precision="fp32", seeds=3), cache, tmp_path / "together")
    for seed in range(3):
        alone = adapted(replace(GRAPH, precision="fp32", seed=seed), cache, tmp_path / f"alone-{seed}")
        ours, theirs = (load_file(run.seed(seed).head_path(runs.LAST)) for run in (together, alone))
        for part, value in ours.items():
            torch.testing.assert_close(value, theirs[part], atol=1e-4, rtol=0, msg=f"seed {seed}: {part}")


def test_the_target_is_learnt(make_cache: MakeCache, tmp_path: Path) -> None:
    recipe = replace(RECOMMENDED, warmstart_iterations=100, iterations=60, eval_every=20, batch_size=6, seeds=2)
    run = adapted(replace(recipe, lambda_teacher=1.0), make_cache(), tmp_path / "run")
    rows = {row["name"]: row for row in json.loads((run.root / runs.RESULTS).read_text())["rows"]}
    assert rows["+ teacher"]["last"]["mean"] > 0.85


def test_commands_as_typed(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache(test=True)
    short = ("--warmstart-iterations", "6", "--iterations", "6", "--eval-every", "3", "--threads", "2")
    done = comix("adapt", "--from-cache", cache, *short, "--name", "r")
    assert done.code == 0, done.err
    # A GPU is taken where there is one, and not named in what decides the run on the command line.
    assert json.loads(Path("runs/r/run.json").read_text())["device"] == "cuda"
    assert comix("retrieve", "--from-cache", cache, "--run", "runs/r", "-k", "3").code == 0
    done = comix("adapt", "--from-cache", cache, "--preset", "ucf-hmdb-published", "--ablation", *short, "--name", "p")
    assert done.code == 0, done.err
    done = comix("compare", "--from-cache", cache, *short, "--seeds", "1", "--name", "all")
    assert done.code == 0, done.err


@pytest.mark.parametrize("rows", [3, 9000])
def test_neighbours_are_those_of_the_cpu(gpu: torch.device, rng: np.random.Generator, rows: int) -> None:
    queries, gallery = (l2_normalise(rng.standard_normal((n, 40), dtype=np.float32)) for n in (70, rows))
    found = [
        [np.concatenate([getattr(part, name) for part in candidates(queries, gallery, 3, device)])]
        for device in (gpu, torch.device("cpu"))
        for name in ("rows", "products")
    ]
    assert np.array_equal(found[0], found[2])
    np.testing.assert_allclose(found[1], found[3], atol=1e-6)
    similarity, index = (np.asarray(part) for part in search(queries, gallery, 3)[:2])
    expected = np.argsort(-(queries.astype(np.float64) @ gallery.T.astype(np.float64)), axis=1, kind="stable")[:, :3]
    assert np.array_equal(index, expected)
    assert (np.diff(similarity, axis=1) <= 0).all()

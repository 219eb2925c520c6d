"""Pseudo-labels in metrics.jsonl: at every evaluation, at the run's own threshold, and deciding nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Silent
from comix_fast.stages import adapt
from comix_fast.stages.measuring import predict_logits
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.seen import Seen

SHORT = AdaptRecipe(warmstart_iterations=4, iterations=4, batch_size=6, hidden_dim=8, eval_every=2)


def adapted(recipe: AdaptRecipe, cache: Path, root: Path) -> RunFolder:
    return adapt.run(recipe, FeatureCache(cache), root, reporter=Silent())


def pseudo(run: RunFolder, seed: int = 0) -> list[dict[str, Any]]:
    return [line["pseudo"] for line in run.seed(seed).metrics()]


def test_every_evaluation_says_what_its_head_would_label(make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache(noise=3.0)
    run = adapted(replace(SHORT, pseudo_threshold=0.5), cache, tmp_path / "run")
    found = pseudo(run)
    assert [one["threshold"] for one in found] == [0.5] * 4
    banks = Seen(adapt.load_banks(FeatureCache(cache), mixed=False)).banks(run.recipe)
    logits = predict_logits(run.load_head(0, "last"), banks.target, run.load_norms()["target"])
    sure = logits.softmax(dim=1).amax(dim=1) >= 0.5
    assert found[-1]["n_confident"] == found[-1]["n_labelled"] == int(sure.sum())
    right = (logits.argmax(dim=1) == banks.target.labels)[sure]
    assert found[-1]["precision"] == (float(right.double().mean()) if len(right) else None)


def test_labels_change_the_precision_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    labels: list[int | None] = [c for c in range(3) for _ in range(6)]
    given = {"true": labels, "other": [2, 1, 0] * 6, "few": [0, *[None] * 17], "none": [None] * 18}
    recipe = replace(SHORT, pseudo_threshold=0.34, lambda_tpl=0.1)
    runs = {
        name: adapted(recipe, make_cache(name, target_labels=of), tmp_path / f"run-{name}")
        for name, of in given.items()
    }
    heads = {
        name: [path.read_bytes() for path in sorted(run.root.rglob("*.safetensors"))] for name, run in runs.items()
    }
    assert heads["true"] == heads["other"] == heads["few"] == heads["none"]
    of_head = {
        name: [(one["threshold"], one["coverage"], one["n_confident"]) for one in pseudo(run)]
        for name, run in runs.items()
    }
    assert of_head["true"] == of_head["other"] == of_head["few"] == of_head["none"]
    last = {name: pseudo(run)[-1] for name, run in runs.items()}
    assert last["true"]["n_confident"] > 1
    assert last["true"]["precision"] != last["other"]["precision"]
    assert (last["none"]["precision"], last["none"]["n_labelled"]) == (None, 0)
    assert last["few"]["n_labelled"] <= 1 < last["true"]["n_labelled"]


def test_a_shared_warmstart_is_not_measured_at_another_threshold(make_cache: MakeCache, tmp_path: Path) -> None:
    recipes = {tmp_path / f"runs/{value}": replace(SHORT, pseudo_threshold=value) for value in (0.4, 0.9)}
    first, second = adapt.run_all(recipes, FeatureCache(make_cache()), reporter=Silent())[0]
    assert [one["threshold"] for one in pseudo(first)] == [0.4] * 4
    lines = second.seed(0).metrics()
    assert [line["phase"] for line in lines if "pseudo" not in line] == ["warmstart", "warmstart"]
    assert [line["pseudo"]["threshold"] for line in lines[2:]] == [0.9, 0.9]


def test_lines_of_before_are_read(make_cache: MakeCache, tmp_path: Path) -> None:
    """A run that an earlier version began goes on, and is shown."""
    cache = make_cache()
    run = adapted(SHORT, cache, tmp_path / "run")
    whole = (run.root / "results.json").read_bytes()
    files = run.seed(0)
    files.keep_metrics([{k: v for k, v in line.items() if k != "pseudo"} for line in files.metrics()])
    (run.root / "results.json").unlink()
    adapted(SHORT, cache, tmp_path / "run")
    assert (run.root / "results.json").read_bytes() == whole
    more = adapted(replace(SHORT, seeds=2), cache, tmp_path / "run")
    assert "pseudo" not in more.seed(0).metrics()[0]
    assert "pseudo" in more.seed(1).metrics()[0]

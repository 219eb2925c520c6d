"""Stage two: warm-start on the source, adaptation to the target, all from a cache, for one seed after another."""

from __future__ import annotations

import contextlib
import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from comix_fast.backbones.precision import has_bf16_units
from comix_fast.cache.reader import FeatureCache
from comix_fast.config import AdaptRecipe, differences, digest
from comix_fast.console import Reporter
from comix_fast.errors import CacheError, RunError
from comix_fast.files import held_lock, whole_file, write_json
from comix_fast.heads import TemporalGraph
from comix_fast.selection import infomax
from comix_fast.stages import runs
from comix_fast.stages.bank import Banks, Standardise, feature_norms, load_banks
from comix_fast.stages.results import summarise_run
from comix_fast.stages.runs import RunFolder, SeedFolder
from comix_fast.stages.sampling import derived_seed
from comix_fast.stages.supervised import n_heads, supervised_accuracy
from comix_fast.stages.training import (
    Loss,
    Progressed,
    accuracy,
    adaptation_loss,
    new_optimiser,
    predict_logits,
    supervised_loss,
    train,
)

WARMSTART, ADAPT, SUPERVISED = "warmstart", "adapt", "supervised"


@dataclass(frozen=True)
class Task:
    """What every seed of a run shares. key: the run's identity, so that no checkpoint of another is resumed."""

    recipe: AdaptRecipe
    banks: Banks
    norms: tuple[Standardise, Standardise]
    key: str


def run(
    recipe: AdaptRecipe,
    cache: FeatureCache,
    root: Path,
    *,
    reporter: Reporter,
    warmstart_from: RunFolder | None = None,
) -> RunFolder:
    """Trains every seed of the recipe and writes the run folder `root`; finished parts are not redone.

    warmstart_from: a run whose warm-started heads are used in place of training them again; it must agree in
    every field that decides them. Raises RunError if `root` is another run, CacheError if the cache lacks what the
    recipe needs.
    """
    mixed = recipe.method == "comix" and recipe.mixing and recipe.lambda_bgm > 0 and recipe.iterations > 0
    if mixed and not cache.mixed_views():
        raise CacheError(
            f"{cache.path} has no background-mixed views",
            hint="extract it again with --mixes 4 into another folder, or adapt with --no-bgm",
        )
    if recipe.precision == "auto":
        recipe = replace(recipe, precision="bf16" if has_bf16_units(torch.device("cpu")) else "fp32")
    banks = load_banks(cache, mixed, recipe.reverse)
    meta = _meta(recipe, cache, banks)
    if warmstart_from is not None:
        _check_warmstart(meta, recipe, warmstart_from)
    with writing_to(root):
        return _run(recipe, banks, RunFolder.make(root, meta), reporter, warmstart_from)


def writing_to(root: Path) -> contextlib.AbstractContextManager[None]:
    """Holds the run folder's lock. Raises RunError if another process holds it."""
    refusal = RunError(f"another process is writing to {root}", hint="wait for it, or choose another --name")
    return held_lock(root.parent / f".{root.name}.lock", refusal)


def _run(
    recipe: AdaptRecipe, banks: Banks, folder: RunFolder, reporter: Reporter, warmstart_from: RunFolder | None
) -> RunFolder:
    task = Task(recipe, banks, feature_norms(banks, recipe.feature_norm), digest(runs.identity(folder.meta)))
    folder.save_norms(*task.norms)
    for seed in recipe.seed_list:
        _run_seed(task, folder, seed, reporter, warmstart_from)
    write_json(folder.root / runs.RESULTS, summarise_run(folder))
    return folder


def _meta(recipe: AdaptRecipe, cache: FeatureCache, banks: Banks) -> dict[str, Any]:
    lists = {
        name: {"ids": digest(bank.ids), "n": len(bank.ids)}
        for name, bank in (("source", banks.source), ("target", banks.target), ("measured", banks.measured))
    }
    lists["source"]["labels"] = digest(banks.source.labels.tolist())
    # They measure; a run measured with other labels, or none, must not pass for one measured with these.
    lists["measured"]["labels"] = digest(banks.measured.labels.tolist())
    lists["classes"] = {"names": digest(cache.classes), "n": len(cache.classes)}
    return {
        "cache": str(cache.path.resolve()),
        "cache_key": cache.key,
        "dataset": lists,
        "recipe": recipe.to_json(),
        "source": banks.names[0],
        "target": banks.names[1],
        "transductive": banks.transductive,
        "n_labelled": int((banks.measured.labels >= 0).sum()),
        "classes": list(cache.classes),
        "in_dim": banks.source.clips.shape[1],
        "warnings": list(cache.warnings),
        "notes": list(cache.notes),
    }


def _check_warmstart(meta: dict[str, Any], recipe: AdaptRecipe, other: RunFolder) -> None:
    ours = {"cache_key": meta["cache_key"], "dataset": meta["dataset"], **recipe.warmstart_json()}
    theirs = {
        "cache_key": other.meta["cache_key"],
        "dataset": other.meta["dataset"],
        **other.recipe.warmstart_json(),
    }
    if lines := differences(ours, theirs):
        raise RunError(f"{other.root} was warm-started differently", lines)


def _run_seed(task: Task, folder: RunFolder, seed: int, reporter: Reporter, donor: RunFolder | None) -> None:
    files, recipe = folder.seed(seed), task.recipe
    if recipe.method == "target-supervised":
        _bound(task, folder, files, seed, reporter)
        return
    if donor is not None and not files.head_path(runs.SOURCE_ONLY).exists():
        _take_warmstart(files, donor, seed)
    if not files.head_path(runs.SOURCE_ONLY).exists():
        head = _seeded_head(folder, seed)
        loss = supervised_loss(head, task.banks.source, task.norms[0], recipe, seed, WARMSTART)
        _phase(task, files, head, loss, seed, WARMSTART, recipe.warmstart_iterations, reporter)
        runs.save_tensors(files.head_path(runs.SOURCE_ONLY), head.state_dict())
    if recipe.method == "comix" and recipe.iterations and not files.head_path(runs.LAST).exists():
        head = folder.load_head(seed, runs.SOURCE_ONLY)
        loss = adaptation_loss(head, task.banks, task.norms, recipe, seed)
        _phase(task, files, head, loss, seed, ADAPT, recipe.iterations, reporter)
        runs.save_tensors(files.head_path(runs.LAST), head.state_dict())
    _write_predictions(task, folder, files, seed)
    (files.root / runs.CHECKPOINT).unlink(missing_ok=True)


def _seeded_head(folder: RunFolder, seed: int) -> TemporalGraph:
    """A head initialised by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "head"))
        return folder.new_head()


def _phase(
    task: Task,
    files: SeedFolder,
    head: TemporalGraph,
    loss: Loss,
    seed: int,
    phase: str,
    iterations: int,
    reporter: Reporter,
) -> None:
    """Trains to the end of a phase, from its checkpoint if there is one; measures, logs and saves on the way."""
    recipe = task.recipe
    optimiser = new_optimiser(head, recipe)
    begin = _resume(task, files, head, optimiser, phase)
    best = max((line["infomax"] for line in files.metrics() if line["phase"] == phase), default=-1.0)
    what = f"seed {seed}: {'warm-start' if phase == WARMSTART else 'adaptation'}"
    steps: Iterator[Progressed] = train(
        head,
        optimiser,
        loss,
        seed=seed,
        phase=phase,
        begin=begin,
        iterations=iterations,
        lr=recipe.lr,
        report_every=recipe.eval_every,
    )
    with reporter.progress(what, iterations, "iterations") as advance:
        advance(begin)
        for step in steps:
            line = {
                "seed": seed,
                "phase": phase,
                "iteration": step.iteration,
                **step.losses,
                **_measure(task, head),
            }
            files.add_metrics(line)
            if phase == ADAPT and line["infomax"] > best:
                best = line["infomax"]
                runs.save_tensors(files.head_path(runs.SELECTED), head.state_dict())
            _save_checkpoint(task, files, head, optimiser, phase, step.iteration)
            advance(step.iteration - begin)
            begin = step.iteration


def _measure(task: Task, head: TemporalGraph) -> dict[str, Any]:
    """The label-free score that selects, on the unlabelled training videos; the accuracy, which decides nothing."""
    banks = task.banks
    unlabelled = predict_logits(head, banks.target, task.norms[1])
    measured = unlabelled if banks.measured is banks.target else predict_logits(head, banks.measured, task.norms[1])
    return {"infomax": infomax(unlabelled), "target_accuracy": accuracy(measured, banks.measured.labels)}


def _save_checkpoint(
    task: Task, files: SeedFolder, head: TemporalGraph, optimiser: torch.optim.SGD, phase: str, iteration: int
) -> None:
    tensors = {f"head.{name}": value for name, value in head.state_dict().items()}
    for name, parameter in head.named_parameters():
        if (buffer := optimiser.state[parameter].get("momentum_buffer")) is not None:
            tensors[f"momentum.{name}"] = buffer
    metadata = {"phase": phase, "iteration": str(iteration), "run": task.key}
    runs.save_tensors(files.root / runs.CHECKPOINT, tensors, metadata)


def _resume(task: Task, files: SeedFolder, head: TemporalGraph, optimiser: torch.optim.SGD, phase: str) -> int:
    """Loads the phase's checkpoint, if any; returns how many iterations are done. Later metrics are dropped."""
    path = files.root / runs.CHECKPOINT
    done = 0
    if path.exists():
        tensors, metadata = runs.load_tensors(path)
        if metadata.get("run") != task.key:
            raise RunError(f"{path} belongs to another run", hint="delete it and adapt again")
        if metadata["phase"] == phase:
            done = int(metadata["iteration"])
            head.load_published(_below(tensors, "head."))
            momentum = _below(tensors, "momentum.")
            for name, parameter in head.named_parameters():
                if name in momentum:
                    optimiser.state[parameter]["momentum_buffer"] = momentum[name]
    kept = [line for line in files.metrics() if line["phase"] != phase or line["iteration"] <= done]
    files.keep_metrics(kept)
    return done


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _take_warmstart(files: SeedFolder, donor: RunFolder, seed: int) -> None:
    theirs = donor.seed(seed)
    source = theirs.head_path(runs.SOURCE_ONLY)
    if not source.exists():
        raise RunError(f"{donor.root} has no warm-started head for seed {seed}")
    files.keep_metrics([line for line in theirs.metrics() if line["phase"] == WARMSTART])
    with whole_file(files.head_path(runs.SOURCE_ONLY)) as partial:
        shutil.copyfile(source, partial)


def _bound(task: Task, folder: RunFolder, files: SeedFolder, seed: int, reporter: Reporter) -> None:
    """The target-supervised bound: the one method that trains on target labels, and says so."""
    if any(line["phase"] == SUPERVISED for line in files.metrics()):
        return
    with reporter.progress(f"seed {seed}: target-supervised bound", n_heads(task.banks), "heads") as advance:
        value = supervised_accuracy(
            task.recipe, task.banks, task.norms[1], seed, lambda: _seeded_head(folder, seed), advance
        )
    line = {"seed": seed, "phase": SUPERVISED, "iteration": task.recipe.warmstart_iterations}
    files.keep_metrics([{**line, "target_accuracy": value}])


def _write_predictions(task: Task, folder: RunFolder, files: SeedFolder, seed: int) -> None:
    names = [name for name in (runs.SOURCE_ONLY, runs.LAST, runs.SELECTED) if files.head_path(name).exists()]
    bank, classes = task.banks.measured, folder.meta["classes"]
    columns = {
        name: predict_logits(folder.load_head(seed, name), bank, task.norms[1]).argmax(dim=1).tolist() for name in names
    }
    with (
        whole_file(files.root / "predictions.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["id", "label", *names])
        for number, video in enumerate(bank.ids):
            label = int(bank.labels[number])
            predicted = [classes[columns[name][number]] for name in names]
            writer.writerow([video, classes[label] if label >= 0 else "", *predicted])

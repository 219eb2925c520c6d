"""Stage two: warm-start on the source, adaptation to the target, all from a cache, for many heads at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from comix_fast.backbones.precision import has_bf16_units
from comix_fast.cache.reader import FeatureCache
from comix_fast.config import AdaptRecipe, digest
from comix_fast.console import Reporter
from comix_fast.errors import CacheError, ComixError, RunError
from comix_fast.files import held_lock, write_json
from comix_fast.presets import settled_iterations
from comix_fast.selection import SCORES
from comix_fast.stages import runs
from comix_fast.stages.bank import Banks, MemoryUse, Standardise, load_banks, unseen
from comix_fast.stages.members import Task, Work
from comix_fast.stages.pooling import parse_statistics
from comix_fast.stages.results import summarise_run
from comix_fast.stages.road import CachedRoad
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.seen import Seen
from comix_fast.stages.start import Start
from comix_fast.stages.stopping import Stop
from comix_fast.stages.works import train_all


@dataclass(frozen=True)
class Lost:
    """A seed that was given up."""

    folder: RunFolder
    seed: int
    error: RunError


def run(recipe: AdaptRecipe, cache: FeatureCache, root: Path, *, reporter: Reporter, **where: Any) -> RunFolder:
    """One run: trains every seed of the recipe and writes the run folder `root`; finished parts are not redone.

    where: as run_all takes it. Raises RunError if `root` is another run or a seed's loss is not finite, CacheError if
    the cache lacks what the recipe needs.
    """
    folders, lost = run_all({root: recipe}, cache, reporter=reporter, **where)
    if lost:
        raise lost[0].error
    return folders[0]


def run_all(
    recipes: Mapping[Path, AdaptRecipe],
    cache: FeatureCache,
    *,
    reporter: Reporter,
    device: str = "cpu",
    memory: MemoryUse = "auto",
    stop: Stop | None = None,
    start: Start | None = None,
    kept: Mapping[str, Any] | None = None,
) -> tuple[list[RunFolder], list[Lost]]:
    """Runs on one cache, one per folder, all their seeds trained together; returns them and the seeds given up.

    Several runs must lie in one folder and agree on the direction; those that warm-start alike do so once. memory:
    whether features are loaded or mapped. stop: looked at between iterations. start: the head to begin with and how
    features are standardised for it; None: each seed draws its own. kept: more for run.json, which decides nothing.
    Raises OutOfTime when stop's time is over, and as run does, but for a loss that is not finite: that run has no
    results then.
    """
    mixed = any(recipe.uses_mixes for recipe in recipes.values())
    if mixed and not cache.mixed_views():
        raise CacheError(
            f"{cache.path} has no background-mixed views",
            hint="extract it again with --mixes 4 into another folder, or adapt with --no-bgm",
        )
    (reverse,) = {recipe.reverse for recipe in recipes.values()}
    _check(recipes.values(), cache, reverse)
    place = torch.device(device)
    banks = load_banks(cache, mixed, reverse, memory=memory, reporter=reporter)
    seen = Seen(banks, place, reporter)
    # Of many runs their folder is held: one lock for each would be as many open files.
    (held,) = recipes if len(recipes) == 1 else {root.parent for root in recipes}
    with writing_to(held):
        tasks = []
        for root, recipe in ((root, _settled(recipe, banks, place)) for root, recipe in recipes.items()):
            views = seen.banks(recipe)
            meta = {**_meta(recipe, cache, views, place), **(kept or {})}
            if start is not None:
                meta["start"] = start.sha256
            if len(recipes) > 1:
                meta["together"] = len(recipes)
            folder = RunFolder.make(root, meta)
            key = digest(runs.identity(folder.meta))
            head = None if start is None else start.head
            norms = _norms(recipe, seen, start, place)
            tasks.append(Task(recipe, views, norms, folder, place, key, CachedRoad(views), head))
            folder.save_norms(*tasks[-1].norms)
        works = [Work(task, seed) for task in tasks for seed in task.recipe.seed_list]
        train_all(works, reporter, stop)
        for task in tasks:
            if not any(work.error for work in works if work.task is task):
                write_json(task.folder.root / runs.RESULTS, summarise_run(task.folder))
    lost = [Lost(work.task.folder, work.seed, work.error) for work in works if work.error]
    return [task.folder for task in tasks], lost


def _norms(
    recipe: AdaptRecipe, seen: Seen, start: Start | None, place: torch.device
) -> tuple[Standardise, Standardise]:
    """As the head to begin with has learnt; measured here where there is none, or it saw statistics of fewer clips."""
    if start is None or not start.of_every_clip:
        return seen.norms(recipe)
    return start.norms[0].to(place), start.norms[1].to(place)


def _check(recipes: Iterable[AdaptRecipe], cache: FeatureCache, reverse: bool) -> None:
    """Refuses what no run can do, before anything is read or written."""
    for recipe in recipes:
        if recipe.select_by not in SCORES:
            raise ComixError(
                f"there is no label-free score {recipe.select_by!r}", hint=f"select by {', '.join(SCORES)}"
            )
        if recipe.select_by == "dev" and not unseen(cache, "target" if reverse else "source"):
            raise ComixError(
                f"{cache.path} lists no labelled source videos to hold out, which deep embedded validation needs",
                hint="give the source a test list and extract again, or choose another --select-by",
            )
        if recipe.pooled:
            parse_statistics(recipe.statistics)


def _settled(recipe: AdaptRecipe, banks: Banks, device: torch.device) -> AdaptRecipe:
    recipe = settled_iterations(recipe, len(banks.source.ids), len(banks.target.ids))
    if recipe.pooled:
        # One row a video: so little arithmetic that nothing is won by rounding it.
        return replace(recipe, precision="fp32")
    if recipe.precision != "auto":
        return recipe
    return replace(recipe, precision="bf16" if has_bf16_units(device) else "fp32")


def writing_to(root: Path) -> contextlib.AbstractContextManager[int]:
    """Holds the run folder's lock. Raises RunError if another process holds it."""
    refusal = RunError(f"another process is writing to {root}", hint="wait for it, or choose another --name")
    return held_lock(root.parent / f".{root.name}.lock", refusal)


def _meta(recipe: AdaptRecipe, cache: FeatureCache, banks: Banks, device: torch.device) -> dict[str, Any]:
    lists = {
        name: {"ids": digest(bank.ids), "n": len(bank.ids)}
        for name, bank in (("source", banks.source), ("target", banks.target), ("measured", banks.measured))
    }
    lists["source"]["labels"] = digest(banks.source.labels.tolist())
    # They measure; a run measured with other labels, or none, must not pass for one measured with these.
    lists["measured"]["labels"] = digest(banks.measured.labels.tolist())
    if banks.held_out is not None:
        # Label-free scores see them, so a step may be selected by them.
        lists["held out"] = {
            "ids": digest(banks.held_out.ids),
            "n": len(banks.held_out.ids),
            "labels": digest(banks.held_out.labels.tolist()),
        }
    lists["classes"] = {"names": digest(cache.classes), "n": len(cache.classes)}
    return {
        "cache": str(cache.path.resolve()),
        "cache_key": cache.key,
        "features": cache.recipe,
        "dataset": lists,
        "recipe": recipe.to_json(),
        "source": banks.names[0],
        "target": banks.names[1],
        "transductive": banks.transductive,
        "n_labelled": int((banks.measured.labels >= 0).sum()),
        "classes": list(cache.classes),
        "in_dim": banks.source.clips.dim,
        "device": device.type,
        "warnings": list(cache.warnings),
        "notes": list(cache.notes),
    }

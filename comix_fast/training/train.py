"""Full runs: backbone and head trained on videos, by the step that trains heads on a cache."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from comix_fast.backbones import Backbone
from comix_fast.backbones.precision import has_bf16_units
from comix_fast.config import AdaptRecipe, digest
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError
from comix_fast.files import write_json
from comix_fast.presets import settled_iterations
from comix_fast.selection import SCORES
from comix_fast.stages import runs
from comix_fast.stages.adapt import writing_to
from comix_fast.stages.bank import Banks, Standardise, feature_norms, identity_norms, pooled_size
from comix_fast.stages.candidates import labels_of
from comix_fast.stages.members import Task, Work
from comix_fast.stages.results import summarise_run
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import Start
from comix_fast.stages.stopping import Stop
from comix_fast.stages.works import train_all
from comix_fast.training.extraction import Extractor
from comix_fast.training.footage import VIDEOS, Footage, listed_footage, surveyed
from comix_fast.training.processes import Processes
from comix_fast.training.recipe import Graphs, VideoRecipe
from comix_fast.training.road import Network, VideoRoad
from comix_fast.video import Decoder

FEATURES_AT_ONCE = 16
"""Clips in a batch when features are extracted, as `comix extract` does by default."""


@dataclass(frozen=True)
class Engine:
    """What computes, and how it is kept; none of it decides a result beyond rounding, but for the device.

    graphs: see comix_fast.training.learning. save_every: iterations between checkpoints; keep: how many are kept.
    """

    decoder: Decoder
    device: torch.device
    threads: int
    processes: Processes
    graphs: Graphs = "recompute"
    save_every: int = 50
    keep: int = 2


def run(
    recipe: AdaptRecipe,
    video: VideoRecipe,
    dataset: Dataset,
    root: Path,
    network: Network,
    engine: Engine,
    *,
    reporter: Reporter,
    start: Start | None = None,
    stop: Stop | None = None,
    asked: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Trains every seed of the recipe, one after another, and writes the run folder `root`; goes on where it stopped.

    network: the backbone as it begins, frozen where video.freeze says so. start: the head to begin with. asked: what
    the run keeps for whoever is to resume it. Raises RunError if `root` is another run or a loss is not finite,
    OutOfTime when stop's time is over.
    """
    _check(recipe, video)
    listed = listed_footage(dataset, recipe.reverse)
    recipe = _settled(recipe, listed, engine.device)
    processes = engine.processes
    kept = {} if asked is None else {"asked": dict(asked)}
    quiet: Reporter = reporter if processes.rank == 0 else Silent()
    with _own_folder(root, processes) as own:
        if processes.rank == 0:
            RunFolder.make(own.first, _meta(recipe, video, listed, dataset, network, start, engine) | kept)
            surveyed(own.first / VIDEOS, listed, video, engine.decoder, recipe.uses_mixes, engine.threads, quiet)
        folder = own.opened()
        footage, surveys = surveyed(
            folder.root / VIDEOS, listed, video, engine.decoder, recipe.uses_mixes, engine.threads, Silent()
        )
        for videos in (footage.source, footage.target):
            # Refused now, not when the phase that draws of them begins.
            processes.share(min(recipe.batch_size, len(videos)))
        extracted_by = video.extract_recipe(folder.meta["features"]["backbone"], FEATURES_AT_ONCE)
        extractor = Extractor(extracted_by, surveys, engine.decoder, engine.device, engine.threads, processes)
        with VideoRoad(recipe, video, footage, network, extractor, graphs=engine.graphs) as road:
            norms = _norms(recipe, folder, road, footage, engine.device, start, quiet)
            head = None if start is None else start.head
            key = digest(runs.identity(folder.meta))
            task = Task(recipe, None, norms, folder, engine.device, key, road, head, engine.save_every, engine.keep)
            for seed in recipe.seed_list:
                work = Work(task, seed)
                train_all([work], quiet, stop)
                if work.error:
                    raise work.error
        write_json(folder.root / runs.RESULTS, summarise_run(folder))
        processes.wait()
    return RunFolder(root)


def _check(recipe: AdaptRecipe, video: VideoRecipe) -> None:
    """Refuses what no such run can do, before anything is read or written."""
    if recipe.method == "target-supervised":
        raise ComixError("the supervised bound trains heads on a cache", hint="extract, then adapt --target-supervised")
    if recipe.select_by not in SCORES:
        raise ComixError(f"there is no label-free score {recipe.select_by!r}", hint=f"select by {', '.join(SCORES)}")
    if recipe.select_by in ("dev", "transfer-score"):
        raise ComixError(f"--select-by {recipe.select_by} needs held-out source videos, which are not looked at here")
    if video.freeze and video.train_from is not None:
        raise ComixError("--freeze-backbone and --train-from contradict each other")


def _settled(recipe: AdaptRecipe, listed: Footage, device: torch.device) -> AdaptRecipe:
    recipe = settled_iterations(recipe, len(listed.source), len(listed.target))
    if recipe.pooled:
        return replace(recipe, precision="fp32")
    if recipe.precision != "auto":
        return recipe
    return replace(recipe, precision="bf16" if has_bf16_units(device) else "fp32")


@dataclass(frozen=True)
class _Folders:
    """first: the run's folder, the first process's; own: this process's, elsewhere for all others."""

    first: Path
    own: Path
    processes: Processes

    def opened(self) -> RunFolder:
        """This process's run folder, once the first process has made its own: a copy of it."""
        self.processes.wait()
        if self.own != self.first:
            shutil.copytree(self.first, self.own, dirs_exist_ok=True)
        self.processes.wait()
        return RunFolder(self.own)


@contextlib.contextmanager
def _own_folder(root: Path, processes: Processes) -> Iterator[_Folders]:
    """Every process does and writes the same; what all but the first write is thrown away at the end."""
    if processes.rank:
        with tempfile.TemporaryDirectory(prefix="comix-") as scratch:
            yield _Folders(root, Path(scratch) / root.name, processes)
    else:
        with writing_to(root):
            yield _Folders(root, root, processes)


def _norms(
    recipe: AdaptRecipe,
    folder: RunFolder,
    road: VideoRoad,
    footage: Footage,
    device: torch.device,
    start: Start | None,
    reporter: Reporter,
) -> tuple[Standardise, Standardise]:
    """How features are standardised all through the run: as the first backbone gives them, or as the head's run did.

    Statistics are always measured here: those that a head from a cache has learnt with are of more clips.
    """
    if (folder.root / runs.NORM).exists():
        kept = folder.load_norms()
        return kept["source"].to(device), kept["target"].to(device)
    if start is not None and not recipe.pooled:
        norms = start.norms
    elif recipe.feature_norm == "none":
        norms = identity_norms(int(folder.meta["in_dim"]))
    else:
        source, target = road.features([footage.source, footage.target], every=True, reporter=reporter)
        banks = Banks(source, target, target, footage.transductive, footage.names)
        norms = feature_norms(banks, recipe.feature_norm, pooled_size(source.clips.dim) if recipe.pooled else None)
    folder.save_norms(*norms)
    return norms[0].to(device), norms[1].to(device)


def _meta(
    recipe: AdaptRecipe,
    video: VideoRecipe,
    listed: Footage,
    dataset: Dataset,
    network: Network,
    start: Start | None,
    engine: Engine,
) -> dict[str, Any]:
    lists: dict[str, Any] = {}
    for name, videos in (("source", listed.source), ("target", listed.target), ("measured", listed.measured)):
        lists[name] = {"ids": digest([one.id for one in videos]), "n": len(videos)}
        if name != "target":
            lists[name]["labels"] = digest(labels_of(videos).tolist())
    lists["classes"] = {"names": digest(dataset.classes), "n": len(dataset.classes)}
    backbone = network if isinstance(network, Backbone) else network.frozen()
    meta = {
        "cache": "",
        "cache_key": "",
        "features": video.extract_recipe(backbone.recipe(), FEATURES_AT_ONCE).to_json(),
        "video": video.to_json(),
        "dataset": lists,
        "recipe": recipe.to_json(),
        "source": listed.names[0],
        "target": listed.names[1],
        "transductive": listed.transductive,
        "n_labelled": sum(one.label is not None for one in listed.measured),
        "classes": list(dataset.classes),
        "in_dim": network.feature_dim * (len(recipe.statistics.split("+")) if recipe.pooled else 1),
        "device": engine.device.type,
        "warnings": [network.warning] if network.warning else [],
        "notes": list(dataset.notes),
    }
    return meta if start is None else {**meta, "start": start.sha256}

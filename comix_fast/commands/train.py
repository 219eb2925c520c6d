"""`comix finetune` and `comix train`: choose videos, recipe and backbone, run, show the table."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.backbones import load_backbone
from comix_fast.backbones.precision import Precision, has_bf16_units
from comix_fast.backbones.registry import CLIP_SIZE
from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.commands.adapt import results, training_shown
from comix_fast.commands.asked import Asked, Backbone
from comix_fast.commands.from_run import require_same_classes
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import OutOfTime
from comix_fast.next_steps import NextSteps
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import start_of
from comix_fast.stages.stopping import Stop
from comix_fast.tables import accuracy_table
from comix_fast.training.processes import Processes, launch, share_of
from comix_fast.training.recipe import Graphs, VideoRecipe
from comix_fast.training.road import Network
from comix_fast.training.train import Engine
from comix_fast.training.train import run as train
from comix_fast.video import Limits, choose_decoder


@dataclass(frozen=True)
class Machine:
    """What computes and how often it is saved, as typed. max_minutes, limits (fields of Limits): of this
    session alone."""

    device: str = "auto"
    devices: int = 1
    threads: int | None = None
    decoder: str = "auto"
    graphs: Graphs = "recompute"
    checkpoint_activations: bool = False
    save_every: int = 50
    keep: int = 2
    max_minutes: float | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What a resumed run is computed with again, so that it goes on to the very bit."""
        return {name: value for name, value in vars(self).items() if name not in ("max_minutes", "limits")}

    def as_begun(self, run: RunFolder, typed: Collection[str]) -> Machine:
        """This, with what it has not been given by an option as the run was begun with. typed: names of options."""
        kept = {name: value for name, value in run.meta["asked"].get("machine", {}).items() if name not in typed}
        return replace(self, **kept)


class SharedStop(Stop):
    """Stops all processes at the same iteration: when the first one's time is over."""

    def __init__(self, first: Stop, processes: Processes) -> None:
        """first: what limits the first process."""
        super().__init__()
        self._first, self._processes = first, processes

    @property
    def out_of_time(self) -> bool:
        """See Stop."""
        return self._processes.agree(self._first.out_of_time)


def run(asked: Asked, root: Path, machine: Machine, reporter: Reporter, kind: str = "train") -> RunFolder | None:
    """Begins the run at `root`, or goes on with it; None in all processes but the first.

    kind: the command as typed. Raises OutOfTime, which says how to go on, when the time given is over.
    """
    limit = Stop(machine.max_minutes)
    share_of(asked.recipe.batch_size, 0, machine.devices)
    dataset, decoder = asked.where.dataset(), choose_decoder(machine.decoder).limited(Limits(**machine.limits))
    if asked.from_run is not None:
        require_same_classes(RunFolder(asked.from_run), dataset.classes, dataset.name)
    try:
        with launch(machine.devices, choose_device(machine.device), reporter.warn) as (processes, device):
            set_threads(machine.threads)
            stop = limit if machine.max_minutes is None else SharedStop(limit, processes)
            threads = machine.threads or torch.get_num_threads()
            engine = Engine(decoder, device, threads, processes, machine.graphs, machine.save_every, machine.keep)
            heard = reporter if processes.rank == 0 else Silent()
            done = _trained(asked, root, dataset, engine, machine, heard, stop)
            return done if processes.rank == 0 else None
    except OutOfTime as stopped:
        raise OutOfTime(f"comix {kind} --resume {shlex.quote(str(root))}") from stopped


def _trained(
    asked: Asked, root: Path, dataset: Dataset, engine: Engine, machine: Machine, reporter: Reporter, stop: Stop
) -> RunFolder:
    """The run, with what is said before it."""
    backbone, device = asked.backbone, engine.device
    network = _network(backbone, _precision(backbone.precision, device), device, machine.checkpoint_activations)
    video = _video_recipe(backbone, network, engine)
    reporter.say(f"run {root}")
    if network.warning:
        reporter.warn(network.warning)
    learns = "frozen" if video.freeze else f"trained from {video.train_from}" if video.train_from else "trained"
    several = f", {video.processes} processes" if video.processes > 1 else ""
    where = f"{video.precision} on {device.type}{several}; {engine.decoder.name}"
    reporter.say(f"{network.name}, {network.weights_name} weights, {learns}, {where}")
    for note in dict.fromkeys((*dataset.notes, dataset.measured()[1])):
        reporter.say(note)
    start = None if asked.from_run is None else start_of(RunFolder(asked.from_run))
    kept = asked.to_json() | {"machine": machine.to_json()}
    return train(
        asked.recipe, video, dataset, root, network, engine, reporter=reporter, start=start, stop=stop, asked=kept
    )


def _video_recipe(backbone: Backbone, network: Network, engine: Engine) -> VideoRecipe:
    return VideoRecipe(
        # A file is known by what is in it, so that it may be renamed.
        backbone={"name": network.name, "sha256": network.weights_sha256},
        decoder={"name": engine.decoder.name, "version": engine.decoder.version},
        precision=network.precision,
        lr=backbone.lr,
        batch_norm=backbone.batch_norm,
        freeze=backbone.freeze,
        train_from=backbone.train_from,
        bins=backbone.clips,
        mixes=backbone.mixes,
        micro_batch=backbone.micro_batch,
        processes=engine.processes.count,
        device=engine.device.type,
        size=CLIP_SIZE,
    )


def _precision(typed: str, device: torch.device) -> Precision:
    if typed == "auto":
        return "bf16" if has_bf16_units(device) else "fp32"
    return "bf16" if typed == "bf16" else "fp32"


def _network(backbone: Backbone, precision: Precision, device: torch.device, recomputes: bool) -> Network:
    if backbone.freeze:
        return load_backbone(backbone.name, backbone.weights, precision, device)
    network = TrainableBackbone(
        backbone.name,
        backbone.weights,
        precision=precision,
        device=device,
        batch_norm=backbone.batch_norm,
        train_from=backbone.train_from,
        recomputes=recomputes,
    )
    if network.doubt and backbone.precision == "auto":
        # As stage one settles it: lower precision only where it agrees.
        return _network(replace(backbone, precision="fp32"), "fp32", device, recomputes)
    return network


def to_json(done: RunFolder) -> Any:
    """For --json: results.json with the run's folder."""
    return {"run": str(done.root), **results([done])[0]}


def closing(done: RunFolder) -> RenderableType:
    """The table, how training went, what is taken for what, and what to do next."""
    root = str(done.root)
    steps: list[Sequence[str]] = [("comix", "predict", root, "VIDEOS"), ("comix", "report", root)]
    if done.seed(done.recipe.seed).backbone_path(done.result).exists():
        steps.append(("comix", "extract", "DATASET", "--weights", root))
    return Group(accuracy_table(results([done])), *training_shown(done), Text(f"run {done.root}"), NextSteps(steps))

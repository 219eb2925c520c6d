"""`comix finetune` and `comix train`: choose videos, recipe and backbone, run, show the table."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.backbones import load_backbone
from comix_fast.backbones.precision import Precision, has_bf16_units
from comix_fast.backbones.registry import CLIP_SIZE
from comix_fast.backbones.trainable import BatchNorm, TrainableBackbone
from comix_fast.commands.adapt import plain_name, results
from comix_fast.commands.extract import choose_dataset, default_out
from comix_fast.commands.from_run import require_same_classes, with_head_of
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.commands.weights_of_run import resolve_weights
from comix_fast.config import AdaptRecipe, digest
from comix_fast.console import Reporter, Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError, OutOfTime, RunError
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import handed_on, start_of
from comix_fast.stages.stopping import Stop
from comix_fast.tables import accuracy_table
from comix_fast.training.processes import Processes, launch, share_of
from comix_fast.training.recipe import Graphs, VideoRecipe
from comix_fast.training.road import Network
from comix_fast.training.train import Engine
from comix_fast.training.train import run as train
from comix_fast.video import choose_decoder


@dataclass(frozen=True)
class Where:
    """Which videos, as typed; what `--resume` needs to find them again."""

    toml: Path | None = None
    source: Path | None = None
    target: Path | None = None
    preset: str | None = None
    base_dir: Path | None = None
    splits: Path | None = None
    published_validation: bool = False
    allow_missing: bool = False

    def dataset(self) -> Dataset:
        """The videos, looked up. A preset names a layout only beside --base-dir; else it is the recipe's alone."""
        layout = self.preset if self.base_dir is not None or self.splits is not None else None
        return choose_dataset(
            self.toml,
            self.source,
            self.target,
            layout,
            self.base_dir,
            self.splits,
            self.published_validation,
            self.allow_missing,
        )

    def to_json(self) -> dict[str, Any]:
        """As run.json keeps it: paths whole, so that another folder can resume."""
        return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Where:
        """What to_json gave."""
        found: dict[str, Any] = dict(kept)
        for name in ("toml", "source", "target", "base_dir", "splits"):
            found[name] = None if found[name] is None else Path(found[name])
        return cls(**found)


@dataclass(frozen=True)
class Backbone:
    """The backbone and what of it learns, as typed."""

    name: str = "i3d"
    weights: str = "kinetics400"
    precision: str = "auto"
    lr: float = 0.001
    batch_norm: BatchNorm = "train"
    freeze: bool = False
    train_from: str | None = None
    clips: int = 16
    mixes: int | None = None
    micro_batch: int | None = None


@dataclass(frozen=True)
class Machine:
    """What computes and how often it is saved, as typed. max_minutes: of this session alone."""

    device: str = "auto"
    devices: int = 1
    threads: int | None = None
    decoder: str = "auto"
    graphs: Graphs = "recompute"
    checkpoint_activations: bool = False
    save_every: int = 50
    keep: int = 2
    max_minutes: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What a resumed run is computed with again, so that it goes on to the very bit."""
        return {name: value for name, value in vars(self).items() if name != "max_minutes"}

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


@dataclass(frozen=True)
class Asked:
    """All of a run: what `comix train --resume` finds in run.json. from_run: the run whose head it begins with."""

    where: Where
    recipe: AdaptRecipe
    backbone: Backbone
    from_run: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """For run.json; the recipe is there already."""
        from_run = None if self.from_run is None else str(self.from_run.resolve())
        return {"dataset": self.where.to_json(), "backbone": vars(self.backbone), "from_run": from_run}

    @classmethod
    def of_run(cls, run: RunFolder) -> Asked:
        """What was asked for when a run began. Raises RunError for a run of another command."""
        kept = run.meta.get("asked")
        if not isinstance(kept, Mapping):
            raise RunError(f"{run.root} was not made by comix finetune or comix train", hint="try comix adapt --resume")
        from_run = None if kept["from_run"] is None else Path(kept["from_run"])
        return cls(Where.from_json(kept["dataset"]), run.recipe, Backbone(**kept["backbone"]), from_run)


def new(
    where: Where, recipe: AdaptRecipe, backbone: Backbone, from_run: Path | None, changes: Mapping[str, Any]
) -> Asked:
    """What was asked for as typed. changes: options of the recipe, None where they were not typed.

    A run to begin with brings its head, its norms and its backbone; options that contradict it are refused.
    """
    if from_run is None:
        weights = resolve_weights(backbone.weights)
        return Asked(where, recipe.with_changes(changes), replace(backbone, weights=str(_whole(weights))))
    run = RunFolder(from_run)
    recipe = recipe.with_changes(with_head_of(run, changes))
    name, weights = _backbone_of(run, backbone)
    return Asked(where, recipe, replace(backbone, name=name, weights=str(_whole(weights))), from_run)


def _whole(weights: str) -> str | Path:
    """A file's whole path, so that a run can be resumed from another folder."""
    return Path(weights).resolve() if Path(weights).is_file() else weights


def _backbone_of(run: RunFolder, typed: Backbone) -> tuple[str, str]:
    """Name and weights of the backbone whose features a run's head takes."""
    (files, head), features = handed_on(run), run.features["backbone"]
    if files.backbone_path(head).exists():
        return str(features["name"]), str(files.backbone_path(head))
    if features["weights"] != "file":
        return str(features["name"]), str(features["weights"])
    if typed.weights == Backbone().weights:
        raise ComixError(
            f"{run.root} took its features with weights from a file",
            hint=f"give that file as --weights; the sha256 of its tensors is {features['weights_sha256']}",
        )
    return str(features["name"]), resolve_weights(typed.weights)


def root_of(asked: Asked, kind: str, runs: Path, name: str | None) -> Path:
    """The run's folder: as named, or after the dataset and all that was asked for. kind: "finetune" or "train"."""
    if name is not None:
        return runs / plain_name(name)
    recipe = {field: value for field, value in asked.recipe.to_json().items() if field not in ("seed", "seeds")}
    return runs / f"{default_out(asked.where.dataset()).name}-{kind}-{digest([recipe, asked.to_json()])[:8]}"


def run(asked: Asked, root: Path, machine: Machine, reporter: Reporter, kind: str = "train") -> RunFolder | None:
    """Begins the run at `root`, or goes on with it; None in all processes but the first.

    kind: the command as typed. Raises OutOfTime, which says how to go on, when the time given is over.
    """
    limit = Stop(machine.max_minutes)
    share_of(asked.recipe.batch_size, 0, machine.devices)
    dataset, decoder = asked.where.dataset(), choose_decoder(machine.decoder)
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
        backbone={"name": network.name, "weights": network.weights_name, "sha256": network.weights_sha256},
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
    return TrainableBackbone(
        backbone.name,
        backbone.weights,
        precision=precision,
        device=device,
        batch_norm=backbone.batch_norm,
        train_from=backbone.train_from,
        recomputes=recomputes,
    )


def to_json(done: RunFolder) -> Any:
    """For --json: results.json with the run's folder."""
    return {"run": str(done.root), **results([done])[0]}


def closing(done: RunFolder) -> RenderableType:
    """The table and what to do next."""
    root = shlex.quote(str(done.root))
    lines = [f"run {done.root}", f"next: comix predict {root} VIDEOS", "or:   comix extract DATASET --weights " + root]
    return Group(accuracy_table(results([done])), *(Text(line) for line in lines))

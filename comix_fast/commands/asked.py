"""What `comix finetune` and `comix train` were asked for: videos, recipe, backbone, the run to begin with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comix_fast.backbones.state import read_state, state_sha256
from comix_fast.backbones.trainable import BatchNorm
from comix_fast.commands.adapt import plain_name
from comix_fast.commands.extract import choose_dataset, default_out
from comix_fast.commands.from_run import with_head_of
from comix_fast.commands.weights_of_run import resolve_backbone, resolve_weights
from comix_fast.config import AdaptRecipe, digest
from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError, RunError
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import handed_on
from comix_fast.unread import unread


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
    where: Where,
    recipe: AdaptRecipe,
    backbone: Backbone,
    from_run: Path | None,
    changes: Mapping[str, Any],
    typed: Collection[str] = (),
) -> Asked:
    """What was asked for as typed. changes: options of the recipe, None where they were not typed; typed: names of all
    that was.

    A run to begin with brings its head and its backbone; options that contradict it are refused. Its head is warm, so
    that adaptation follows at once unless --warmstart-iterations was typed.
    """
    if from_run is None:
        weights = resolve_weights(backbone.weights)
        name = resolve_backbone(backbone.name, backbone.weights)
        return Asked(where, recipe.with_changes(changes), replace(backbone, name=name, weights=str(_whole(weights))))
    run = RunFolder(from_run)
    changes = with_head_of(run, changes)
    if recipe.adapts and changes.get("warmstart_iterations") is None:
        changes["warmstart_iterations"] = 0
    name, weights = _backbone_of(run, backbone, typed)
    backbone = replace(backbone, name=name, weights=str(_whole(weights)))
    return Asked(where, recipe.with_changes(changes), backbone, from_run)


def _whole(weights: str) -> str | Path:
    """A file's whole path, so that a run can be resumed from another folder."""
    return Path(weights).resolve() if Path(weights).is_file() else weights


def _backbone_of(run: RunFolder, asked: Backbone, typed: Collection[str]) -> tuple[str, str]:
    """Name and weights of the backbone whose features a run's head takes. Raises ComixError if others were typed."""
    (files, head), features = handed_on(run), run.features["backbone"]
    name = str(features["name"])
    if "backbone" in typed and asked.name != name:
        raise ComixError(f"--backbone {asked.name} contradicts --from-run: its head takes {name}'s features")
    own = files.backbone_path(head)
    if own.exists() or features["weights"] != "file":
        found = str(own) if own.exists() else str(features["weights"])
        if "weights" in typed and resolve_weights(asked.weights) != found:
            theirs = "its own" if own.exists() else found
            raise ComixError(
                f"--weights {asked.weights} contradicts --from-run, which brings {theirs}", hint="leave it out"
            )
        return name, found
    wanted = str(features["weights_sha256"])
    if "weights" not in typed:
        raise ComixError(
            f"{run.root} took its features with weights from a file",
            hint=f"give that file as --weights; the sha256 of its tensors is {wanted}",
        )
    given = resolve_weights(asked.weights)
    if (there := state_sha256(read_state(Path(given)))) != wanted:
        raise ComixError(
            f"{given} is not the file that {run.root} took its features with",
            [f"its tensors have sha256 {there}", f"wanted: {wanted}"],
            hint="give that file, or begin without --from-run",
        )
    return name, given


def remarks(asked: Asked, typed: Collection[str]) -> list[str]:
    """What to say aloud of options as typed that decide nothing."""
    recipe, backbone = asked.recipe, asked.backbone
    rules = {
        "the backbone does not learn": (
            backbone.freeze,
            ("backbone_lr", "batch_norm", "micro_batch", "graphs", "checkpoint_activations"),
        ),
        "no background is mixed in": (not recipe.uses_mixes, ("mixes",)),
    }
    found = [
        f"--{name.replace('_', '-')} decides nothing: {why}"
        for why, (holds, names) in rules.items()
        for name in names
        if holds and name in typed
    ]
    fields = [name for name in typed if name in recipe.to_json() and name != "precision"]
    return found + [
        f"--{name.replace('_', '-')} decides nothing for method {recipe.method} with a {recipe.head} head and these λs"
        for name in unread(fields, [recipe])
    ]


def root_of(asked: Asked, kind: str, runs: Path, name: str | None) -> Path:
    """The run's folder: as named, or after the dataset and all that was asked for. kind: "finetune" or "train"."""
    if name is not None:
        return runs / plain_name(name)
    recipe = {field: value for field, value in asked.recipe.to_json().items() if field not in ("seed", "seeds")}
    return runs / f"{default_out(asked.where.dataset()).name}-{kind}-{digest([recipe, asked.to_json()])[:8]}"

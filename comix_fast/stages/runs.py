"""A run folder: its recipe, and per seed the metrics, checkpoint, heads and predictions.

runs/<name>/
  run.json                 recipe, cache key and path, domains, what accuracy is measured on
  norm.safetensors         how features were standardised
  results.json             accuracies per seed, mean, standard deviation, 95 % interval
  seed-0/metrics.jsonl     one line per evaluation: losses, accuracy, label-free scores, pseudo-labels
  seed-0/checkpoints/                        what resuming needs: the last few; gone when the seed is finished
  seed-0/{source-only,last,selected}.safetensors   heads
  seed-0/predictions.csv   id, label and predicted class of every measured video
  seed-0/oracle-adapt.json                   what the step with the best target accuracy predicts; no head of it is kept
  seed-0/{source-only,last,selected}.backbone.safetensors        the backbone beside a head, where it was trained too
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from comix_fast.cache.reader import read_manifest
from comix_fast.config import AdaptRecipe, differences
from comix_fast.errors import RunError
from comix_fast.files import remove_partial, whole_file, write_json
from comix_fast.heads import Head, make_head
from comix_fast.stages.bank import Standardise

RUN_FORM = "1"
DRAWS = "2"
"""Raised when the random draws of training change: a run that was begun with others can't go on."""
METHODS = "1"
"""Raised when a constant or a formula of an objective, of standardising or of a label-free score changes."""
RUN = "run.json"
NORM = "norm.safetensors"
RESULTS = "results.json"
METRICS = "metrics.jsonl"
CHECKPOINT, CHECKPOINTS = "checkpoint.safetensors", "checkpoints"
SOURCE_ONLY, LAST, SELECTED = "source-only", "last", "selected"


def oracle_file(phase: str) -> str:
    """Where a seed keeps what the best step of a phase predicts."""
    return f"oracle-{phase}.json"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file whole. Raises RunError where the disk takes no more."""
    # safetensors refuses tensors that share memory, as one norm for both domains does.
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with whole_file(path) as partial:
            save_file(contiguous, str(partial), dict(metadata or {}))
    except SafetensorError as error:
        raise RunError(
            f"{path} can't be written: {error}", hint="make room; the same command goes on where it stopped"
        ) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises RunError if it is absent or damaged."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(str(path)), metadata
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} can't be read: {error}", hint="delete the run folder and adapt again") from error


def read_json(path: Path) -> Any:
    """A JSON file of a run. Raises RunError if it is absent or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        inside = sorted(found.parent.name for found in path.parent.glob(f"*/{path.name}"))
        hint = f"its runs are inside it: {', '.join(inside)}" if inside else "make one with comix adapt"
        raise RunError(f"{path.parent} holds no run: {path.name} is missing", hint=hint) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {error}") from error


def identity(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes of a run's heads: of its meta, the recipe but for the number of seeds, and the inputs."""
    # Fields that a recipe has gained since are at what they were before there was a choice.
    whole = AdaptRecipe(**meta["recipe"]).to_json()
    recipe = {name: value for name, value in whole.items() if name not in ("seed", "seeds")}
    since = {"device": meta.get("device", "cpu"), "draws": meta.get("draws", "1"), "methods": meta.get("methods", "1")}
    # Of runs from frames, what else decides: the backbone's recipe, the head to begin with.
    more = {name: meta[name] for name in ("video", "start") if name in meta}
    return {name: meta[name] for name in ("form", "cache_key", "dataset")} | since | more | {"recipe": recipe}


class SeedFolder:
    """The files of one seed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def head_path(self, name: str) -> Path:
        """Where a head is kept: source-only, last or selected."""
        return self.root / f"{name}.safetensors"

    def backbone_path(self, name: str) -> Path:
        """Where the backbone that was trained with a head is kept; absent where the backbone was frozen."""
        return self.root / f"{name}.backbone.safetensors"

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a last line cut short by a kill is left out."""
        path = self.root / METRICS
        if not path.exists():
            return []
        lines = []
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines

    def keep_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Replaces metrics.jsonl, whole."""
        with whole_file(self.root / METRICS) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Appends one line, synced: the checkpoint that follows counts on it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


class RunFolder:
    """A run, made or read. .recipe, .meta: what run.json holds."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.meta: dict[str, Any] = read_json(self.root / RUN)
        if not isinstance(self.meta, dict):
            raise RunError(f"{self.root / RUN} does not describe a run")
        if self.meta.get("form") != RUN_FORM:
            raise RunError(
                f"{self.root} has run form {self.meta.get('form')!r}, this comix-fast reads {RUN_FORM}",
                hint="update comix-fast to read it",
            )
        try:
            self.recipe = AdaptRecipe(**self.meta["recipe"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.root / RUN} does not hold a recipe: {error}") from error

    @classmethod
    def make(cls, root: Path, meta: Mapping[str, Any]) -> RunFolder:
        """A new run, or the one that is there if it was begun with the same recipe and cache, seeds aside.

        Raises RunError if another run is there; the message lists the fields that differ.
        """
        meta = {"form": RUN_FORM, "draws": DRAWS, "methods": METHODS, **meta}
        if (root / RUN).exists() or not any(p for p in root.glob("*") if not p.name.startswith(f".{RUN}.")):
            for folder in (root, *root.glob("seed-*")):
                remove_partial(folder)
        if (root / RUN).exists():
            run = cls(root)
            if lines := differences(identity(meta), identity(run.meta)):
                raise RunError(
                    f"{root} is another run; nothing was changed",
                    [f"asked {line}" for line in lines],
                    hint="choose another --name, or the same options to resume it",
                )
            if meta["recipe"] == run.meta["recipe"]:
                return run
            # More, fewer or other seeds: the finished ones stay, results are over those asked for now.
            write_json(root / RUN, meta)
            return cls(root)
        if root.exists() and any(root.iterdir()):
            raise RunError(f"{root} is not empty and holds no run", hint="choose another --name")
        write_json(root / RUN, meta)
        return cls(root)

    def seed(self, seed: int) -> SeedFolder:
        """The folder of one seed; made when something is written to it."""
        return SeedFolder(self.root / f"seed-{seed}")

    @property
    def takes_every_clip(self) -> bool:
        """Whether its heads take all candidate clips of a video: statistics of these, where a cache has them all.

        Heads on clips take the test clips; so do heads on statistics that were trained from frames, where an iteration
        has no more than one clip of each bin: the maximum of more clips is another number.
        """
        return self.recipe.pooled and "video" not in self.meta

    @property
    def result(self) -> str:
        """The head that is the run's result: last, or source-only where the recipe makes no other."""
        return LAST if self.recipe.adapts else SOURCE_ONLY

    def final(self, seed: int) -> str:
        """The result's name, once a seed has it.

        Raises RunError if that is not there yet, so that nobody takes what a run began with for what it came to.
        """
        name = self.result
        if self.seed(seed).head_path(name).exists():
            return name
        done = [other for other in self.recipe.seed_list if self.seed(other).head_path(name).exists()]
        there = f"finished seeds: {', '.join(map(str, done))}; or " if done else ""
        raise RunError(
            f"seed {seed} of {self.root} is not finished: it has no {name} head",
            hint=f"{there}finish it with the command that began it, or name a head that is there",
        )

    @property
    def features(self) -> dict[str, Any]:
        """The recipe of the features that the heads take, as a cache's manifest holds one: backbone, clips, decoder …

        Runs of before it was kept here have it from their cache. Raises CacheError if that is gone.
        """
        kept = self.meta.get("features")
        return dict(kept) if kept else dict(read_manifest(Path(self.meta["cache"]))["recipe"])

    def new_head(self) -> Head:
        """A head of this run's kind and sizes, its weights not loaded."""
        return make_head(
            self.recipe.head,
            int(self.meta["in_dim"]),
            self.recipe.hidden_dim,
            len(self.meta["classes"]),
            self.recipe.dropout,
            "bf16" if self.recipe.precision == "bf16" else "fp32",
        )

    def load_head(self, seed: int, name: str) -> Head:
        """The source-only, last or selected head of a seed, in eval mode."""
        tensors, _ = load_tensors(self.root / f"seed-{seed}" / f"{name}.safetensors")
        return self.new_head().load_published(tensors).eval()

    def save_norms(self, source: Standardise, target: Standardise) -> None:
        """Keeps how features were standardised."""
        named = {"source": source, "target": target}
        save_tensors(
            self.root / NORM,
            {f"{domain}.{part}": getattr(norm, part) for domain, norm in named.items() for part in norm._fields},
        )

    def load_norms(self) -> dict[str, Standardise]:
        """How the source's and the target's features were standardised."""
        tensors, _ = load_tensors(self.root / NORM)
        try:
            return {name: Standardise(tensors[f"{name}.mean"], tensors[f"{name}.std"]) for name in ("source", "target")}
        except KeyError as error:
            raise RunError(f"{self.root / NORM} lacks {error}") from error

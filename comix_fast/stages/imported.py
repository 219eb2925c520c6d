"""A run made of a model that was trained elsewhere, in the form of any other run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from comix_fast.backbones import load_backbone
from comix_fast.backbones.backbone import Backbone
from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.state import fit_state, write_state
from comix_fast.backbones.weights import KINETICS
from comix_fast.config import AdaptRecipe, ExtractRecipe, ViewPlan, digest
from comix_fast.errors import RunError, WeightsError
from comix_fast.stages import runs
from comix_fast.stages.bank import Standardise
from comix_fast.stages.published_checkpoints import Published
from comix_fast.stages.runs import RunFolder
from comix_fast.video import Decoder

SEED = 0
"""The seed an imported model is filed under; the one it was trained with is in none of its files."""


@dataclass(frozen=True)
class Terms:
    """What the files of a model do not tell. classes: names in the order of the head's outputs; listed_in: for errors.

    recipe: the schedule it was trained with as far as it is known; the head's sizes are put in.
    """

    classes: tuple[str, ...]
    listed_in: str
    source: str = "source"
    target: str = "target"
    recipe: AdaptRecipe = field(default_factory=AdaptRecipe)


@dataclass(frozen=True)
class Engine:
    """What the model's features are computed with. precision: "auto", "bf16" or "fp32", as load_backbone takes it."""

    decoder: Decoder
    backbone: str = "i3d"
    precision: str = "auto"
    device: str = "cpu"


@dataclass(frozen=True)
class Imported:
    """A run that was made. warnings: sentences to show; they are kept in it."""

    folder: RunFolder
    head: str
    warnings: tuple[str, ...]


def import_run(published: Published, terms: Terms, engine: Engine, out: Path, head: str | None = None) -> Imported:
    """Writes the run folder `out`: recipe, identity norm, and head and backbone as seed 0; all of it or nothing.

    head: "last" or "source-only", what to keep the head as; None goes by its file's name. Features are taken as they
    are, in float32, as the published code does. Without a backbone they are those of the Kinetics-400 one.
    Raises RunError if `out` is there and not empty, WeightsError for numbers of classes or of features that differ
    and for a backbone of another architecture.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is there already; nothing was changed", hint="choose another --out")
    name = head or (runs.SOURCE_ONLY if published.source_only else runs.LAST)
    _refuse_other_sizes(published, terms, engine)
    with _whole_folder(out) as staging:
        weights = None if published.backbone is None else staging / "backbone.safetensors"
        if weights is not None:
            _write_backbone(published, engine.backbone, weights)
        backbone = load_backbone(engine.backbone, weights or KINETICS, engine.precision, engine.device)
        warnings = _warnings(published, backbone)
        folder = RunFolder.make(staging / "run", _meta(published, terms, engine, backbone, name, warnings))
        width = published.sizes[0]
        as_they_are = Standardise(torch.zeros(width), torch.ones(width))
        folder.save_norms(as_they_are, as_they_are)
        files = folder.seed(SEED)
        runs.save_tensors(files.head_path(name), published.head)
        if weights is not None:
            weights.replace(files.backbone_path(name))
    return Imported(RunFolder(out), name, warnings)


def _refuse_other_sizes(published: Published, terms: Terms, engine: Engine) -> None:
    in_dim, _, n_classes = published.sizes
    file = published.files["graph"]
    if n_classes != len(terms.classes):
        raise WeightsError(
            f"{file} tells {n_classes} classes apart, {terms.listed_in} names {len(terms.classes)}",
            hint="give the classes that it was trained with, in that order",
        )
    if (width := architecture_of(engine.backbone).feature_dim) != in_dim:
        raise WeightsError(
            f"{file} takes {in_dim} features a clip, {engine.backbone} gives {width}",
            hint="give the --backbone that it was trained with",
        )


def _write_backbone(published: Published, name: str, path: Path) -> None:
    """The backbone as safetensors, under its published names, in float32."""
    with torch.device("meta"):
        network = architecture_of(name).build()
    source = published.files["i3d"]
    fitted = fit_state(network, published.backbone or {}, str(source))
    write_state(fitted.state, path, {"backbone": name, "source": source.name})


def _warnings(published: Published, backbone: Backbone) -> tuple[str, ...]:
    bare = ""
    if published.backbone is None:
        bare = (
            f"no backbone was given, so features are those of {backbone.name} with {KINETICS} weights; the published "
            "code trains its backbone, and a head does badly on the features of another"
        )
    return tuple(sentence for sentence in (bare, published.doubt, backbone.warning) if sentence)


def _meta(
    published: Published, terms: Terms, engine: Engine, backbone: Backbone, head: str, warnings: Sequence[str]
) -> Mapping[str, Any]:
    in_dim, hidden_dim, _ = published.sizes
    features = ExtractRecipe(
        backbone=backbone.recipe(),
        decoder={"name": engine.decoder.name, "version": engine.decoder.version},
        views=ViewPlan((), 0),
        device=engine.device.split(":")[0],
    )
    # How long it was trained is not in its files; None is what recipes have for "not settled".
    recipe = replace(
        terms.recipe,
        method="source-only" if head == runs.SOURCE_ONLY else "comix",
        hidden_dim=hidden_dim,
        feature_norm="none",
        precision="fp32",
        warmstart_iterations=None,
        iterations=None,
        eval_every=None,
        seed=SEED,
        seeds=1,
    )
    notes = ["imported from checkpoints of the published code; how long it was trained is not known"]
    if published.kept_best:
        notes.append("the published code keeps the step that did best where it measures: such accuracy is an oracle's")
    no_list: dict[str, Any] = {"ids": digest([]), "n": 0}
    lists = dict.fromkeys(("source", "target", "measured"), no_list)
    return {
        "cache": "",
        "cache_key": "",
        "features": features.to_json(),
        "dataset": {**lists, "classes": {"names": digest(list(terms.classes)), "n": len(terms.classes)}},
        "recipe": recipe.to_json(),
        "source": terms.source,
        "target": terms.target,
        "transductive": False,
        "n_labelled": 0,
        "classes": list(terms.classes),
        "in_dim": in_dim,
        "device": features.device,
        "warnings": list(warnings),
        "notes": notes,
        "imported": published.fingerprints(),
    }


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`; its `run` is moved onto `out` if the block ends well, and the rest removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".importing", dir=out.parent))
    try:
        yield staging
        (staging / "run").replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)

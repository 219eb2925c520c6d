"""`comix import`: read published checkpoints, make a run of them, say what it is and what can be done with it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.commands.machine import choose_device
from comix_fast.console import Reporter
from comix_fast.datasets import PRESETS, load_toml
from comix_fast.datasets.naming import require_classes, require_domain_names
from comix_fast.datasets.published import EPIC_CLASSES, JESTER_CLASSES, UCF_HMDB_CLASSES
from comix_fast.datasets.tables import read_class_names
from comix_fast.presets import adapt_preset
from comix_fast.stages import imported as stage
from comix_fast.stages.imported import Engine, Imported, Terms
from comix_fast.stages.published_checkpoints import read_published
from comix_fast.video import choose_decoder


def read_terms(classes: str, source: str | None, target: str | None) -> Terms:
    """What the files do not tell, as typed.

    classes: a published preset (ucf-hmdb …), a dataset's TOML file, or a text file with a class a line, in the order of
    the labels. source, target: the domains' names; None takes those of the preset or the TOML file.
    Raises DatasetError for class lists that can't be read or name fewer than two, and for names that can't stand.
    """
    if classes in PRESETS:
        terms = _published_terms(classes)
    elif Path(classes).suffix.lower() == ".toml":
        dataset = load_toml(Path(classes))
        terms = Terms(dataset.classes, classes, dataset.source.name, dataset.target.name)
    else:
        terms = Terms(require_classes(read_class_names(Path(classes)), classes), classes)
    terms = replace(terms, source=source or terms.source, target=target or terms.target)
    require_domain_names(terms.source, terms.target)
    return terms


def _published_terms(preset: str) -> Terms:
    where = f"the preset {preset}"
    if preset == "jester":
        return Terms(JESTER_CLASSES, where, "Jester-S", "Jester-T", adapt_preset("jester-published"))
    source, target = preset.upper().split("-")[-2:]
    if preset.startswith("epic"):
        return Terms(EPIC_CLASSES, where, source, target, adapt_preset("epic-published"))
    return Terms(UCF_HMDB_CLASSES, where, source, target, adapt_preset(f"{preset}-published"))


def run(
    graph: Path,
    i3d: Path | None,
    terms: Terms,
    out: Path,
    *,
    head: str | None,
    backbone: str,
    precision: str,
    device: str,
    reporter: Reporter,
) -> Imported:
    """Reads the checkpoints and writes the run folder; nothing is written if one of them does not fit."""
    place = choose_device(device)
    published = read_published(graph, i3d)
    engine = Engine(choose_decoder(), backbone, precision, place)
    done = stage.import_run(published, terms, engine, out, head)
    for warning in done.warnings:
        reporter.warn(warning)
    return done


def to_json(done: Imported) -> dict[str, Any]:
    """For --json."""
    meta = done.folder.meta
    return {
        "run": str(done.folder.root),
        "head": done.head,
        "classes": meta["classes"],
        "source": meta["source"],
        "target": meta["target"],
        "backbone": meta["features"]["backbone"],
        "imported": meta["imported"],
        "warnings": list(done.warnings),
    }


def closing(done: Imported) -> RenderableType:
    """What the run holds, and what to type next."""
    folder, features = done.folder, done.folder.features["backbone"]
    trained = folder.seed(stage.SEED).backbone_path(done.head).exists()
    sizes = f"{folder.meta['in_dim']} → {folder.recipe.hidden_dim} → {len(folder.meta['classes'])} classes"
    name = shlex.quote(str(folder.root))
    lines = [
        f"{folder.root}: the {done.head} head, {sizes}, and {features['name']}"
        f"{', trained with it' if trained else ' with Kinetics-400 weights'}, {features['precision']}",
        *folder.meta["notes"],
        f"next: comix predict {name} VIDEO",
    ]
    if trained:
        lines.append(f"or its features of a dataset: comix extract DATASET.toml --weights {name} --out cache/NAME")
    return Group(*(Text(line) for line in lines))

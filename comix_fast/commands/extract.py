"""`comix extract`: choose the dataset, the backbone and the views, run stage one, say what happened."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.backbones import load_backbone
from comix_fast.cache import FeatureCache
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Reporter
from comix_fast.datasets import Dataset, check_files, load_folders, load_preset, load_toml
from comix_fast.errors import DatasetError
from comix_fast.stages import extract as stage
from comix_fast.stages.extract import Extracted
from comix_fast.video import choose_decoder

SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Engine:
    """What computes the features, as typed."""

    backbone: str = "i3d"
    weights: str = "kinetics400"
    precision: str = "auto"
    device: str = "auto"
    decoder: str = "auto"
    threads: int | None = None
    batch_size: int = 16
    shard_size: int = 32


def choose_dataset(
    toml: Path | None,
    source: Path | None,
    target: Path | None,
    preset: str | None,
    base_dir: Path | None,
    splits: Path | None,
    published_validation: bool,
    allow_missing: bool,
) -> Dataset:
    """The dataset that exactly one of the three ways names, its files looked up. Raises DatasetError."""
    ways = [toml is not None, source is not None or target is not None, preset is not None]
    if sum(ways) != 1:
        raise DatasetError(
            "name the videos in one way" if any(ways) else "no videos named",
            hint="give DATASET.toml, or --source A --target B, or --preset NAME --base-dir DIR --splits DIR",
        )
    if preset is None and (base_dir is not None or splits is not None or published_validation):
        raise DatasetError("--base-dir, --splits and --published-validation go with --preset")
    if preset is not None:
        if base_dir is None or splits is None:
            raise DatasetError("--preset needs --base-dir and --splits")
        dataset = load_preset(preset, base_dir, splits, published_validation=published_validation)
    elif toml is not None:
        dataset = load_toml(toml)
    else:
        if source is None or target is None:
            raise DatasetError("--source and --target go together")
        dataset = load_folders(source, target)
    return check_files(dataset, allow_missing)


def view_plan(views: str, mixes: int, seed: int) -> ViewPlan:
    """The views as typed: names separated by commas."""
    return ViewPlan.parse([name.strip() for name in views.split(",") if name.strip()], mixes, seed)


def default_out(dataset: Dataset) -> Path:
    """cache/NAME. Raises DatasetError for a name that would lead elsewhere."""
    name = dataset.name
    if name in ("", ".", "..") or name.startswith(".") or Path(name).name != name:
        raise DatasetError(f"the dataset's name {name!r} can't name a folder", hint="give --out, or another name")
    return Path("cache") / name


def run(dataset: Dataset, out: Path, engine: Engine, views: ViewPlan, reporter: Reporter) -> Extracted:
    """Loads the backbone and extracts what the cache lacks."""
    set_threads(engine.threads)
    device = choose_device(engine.device)
    decoder = choose_decoder(engine.decoder)
    backbone = load_backbone(engine.backbone, engine.weights, engine.precision, device)
    if backbone.warning:
        reporter.warn(backbone.warning)
    reporter.say(
        f"{backbone.name}, {backbone.weights_name} weights, {backbone.precision} on {device}; {decoder.name}; "
        f"{len(dataset.videos()):,} videos into {out}"
    )
    for note in dict.fromkeys((*dataset.notes, dataset.measured()[1])):
        reporter.say(note)
    if backbone.precision_note:
        reporter.say(backbone.precision_note)
    recipe = ExtractRecipe(
        backbone=backbone.recipe(),
        decoder={"name": decoder.name, "version": decoder.version},
        views=views,
        batch_size=engine.batch_size,
        device=device.split(":")[0],
    )
    return stage.run(
        recipe,
        dataset,
        backbone,
        decoder,
        out,
        reporter=reporter,
        device=device,
        shard_size=engine.shard_size,
    )


def to_json(done: Extracted) -> dict[str, Any]:
    """For --json."""
    return {
        "cache": str(done.cache),
        "extracted": done.n_new,
        "present_before": done.n_present,
        "failures": list(done.failures),
    }


def closing(done: Extracted) -> RenderableType:
    """How it ended and what to do next; failures by name and reason."""
    lines = [f"{done.cache}: {done.n_new:,} videos extracted, {done.n_present:,} were there"]
    if done.failures:
        lines.append(f"videos that could not be read: {len(done.failures):,}; the same command tries just these again:")
        lines += [f"  {one['id']}: {one['reason']}" for one in done.failures[:SHOWN_FAILURES]]
        if len(done.failures) > SHOWN_FAILURES:
            lines.append(f"  … all of them in {done.cache / 'failures.json'}")
    mixed = "" if FeatureCache(done.cache).mixed_views() else " --no-bgm"
    lines.append(f"next: comix adapt --from-cache {shlex.quote(str(done.cache))}{mixed}")
    return Group(*(Text(line) for line in lines))

"""`comix extract`: choose the dataset, the backbone and the views, run stage one, say what happened."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.backbones.compiling import can_compile, pays
from comix_fast.backbones.precision import Precision
from comix_fast.cache import FeatureCache
from comix_fast.cache.format import MANIFEST
from comix_fast.cache.parts import Part, read_records
from comix_fast.cache.reader import read_manifest
from comix_fast.cache.whereabouts import Whereabouts, write_whereabouts
from comix_fast.cache.writer import refuse_foreign
from comix_fast.commands.extract_crew import Force, crew_of
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.commands.weights_of_run import resolve_backbone, resolve_weights
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Reporter
from comix_fast.datasets import Dataset, check_files, load_folders, load_preset, load_toml
from comix_fast.errors import DatasetError, first_few
from comix_fast.stages.crew import Job
from comix_fast.stages.extract import Extracted, run_with
from comix_fast.stages.pipeline_first import first_clips
from comix_fast.stages.planning import Donors, least_clips
from comix_fast.stages.provenance import made_with
from comix_fast.stages.settled import Settled, settle_apart
from comix_fast.video import Decoder, Limits, choose_decoder

SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Engine:
    """What computes the features, as typed. compiled: None where it is to be chosen.

    limits: fields of Limits, where not the usual.
    """

    backbone: str = "i3d"
    weights: str = "kinetics400"
    precision: str = "auto"
    device: str = "auto"
    decoder: str = "auto"
    threads: int | None = None
    batch_size: int = 16
    shard_size: int = 32
    compiled: bool | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)


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


def typed_part(typed: str | None) -> Part | None:
    """From --shard i/n."""
    return None if typed is None else Part.parse(typed)


def default_out(dataset: Dataset) -> Path:
    """cache/NAME. Raises DatasetError for a name that would lead elsewhere."""
    name = dataset.name
    if name in ("", ".", "..") or name.startswith(".") or Path(name).name != name:
        raise DatasetError(f"the dataset's name {name!r} can't name a folder", hint="give --out, or another name")
    return Path("cache") / name


def choose_compiled(engine: Engine, dataset: Dataset, views: ViewPlan, out: Path, device: str) -> bool:
    """As typed; else as the cache at `out` was made, if there is one; else whether it pays and can be done here."""
    if engine.compiled is not None:
        return engine.compiled
    if (out / MANIFEST).exists():
        return bool(read_manifest(out)["recipe"]["backbone"].get("compiled", False))
    precision: Precision = "fp32" if engine.precision == "fp32" else "bf16"
    place = torch.device(device)
    return pays(least_clips(dataset, views), place, precision) and can_compile(place)


def load(engine: Engine, dataset: Dataset, views: ViewPlan, out: Path, device: str, decoder: Decoder) -> Backbone:
    """The backbone, its precision checked on the dataset's own first clips where there is a choice.

    Weights may be a run's folder: then its own backbone, trained there.
    """
    name, weights = resolve_backbone(engine.backbone, engine.weights), resolve_weights(engine.weights)
    clips = None if engine.precision == "fp32" else first_clips(dataset.videos(), decoder)
    compiled = choose_compiled(engine, dataset, views, out, device)
    return load_backbone(name, weights, engine.precision, device, check=clips, compiled=compiled)


def settle(
    engine: Engine, dataset: Dataset, views: ViewPlan, out: Path, device: str, decoder: Decoder, force: Force
) -> Backbone | Settled:
    """The backbone, loaded here; or, where others are to load it, what there is to know of it."""
    if not force.apart:
        return load(engine, dataset, views, out, device, decoder)
    return settle_apart(
        resolve_backbone(engine.backbone, engine.weights),
        resolve_weights(engine.weights),
        engine.precision,
        device,
        choose_compiled(engine, dataset, views, out, device),
        decoder,
        dataset.videos(),
        engine.threads or torch.get_num_threads(),
    )


def run(
    dataset: Dataset,
    out: Path,
    engine: Engine,
    views: ViewPlan,
    reporter: Reporter,
    part: Part | None = None,
    force: Force | None = None,
    named: Whereabouts | None = None,
) -> Extracted:
    """Loads the backbone and extracts what the cache lacks of the dataset, or of one part of it.

    named: how the dataset was named, left in the cache as a hint for those who want to see its videos.
    """
    refuse_foreign(out)
    force = force or Force()
    set_threads(engine.threads)
    device = choose_device(engine.device)
    decoder = choose_decoder(engine.decoder).limited(Limits(**engine.limits))
    backbone = settle(engine, dataset, views, out, device, decoder, force)
    if backbone.warning:
        reporter.warn(backbone.warning)
    reporter.say(
        f"{backbone.name}, {backbone.weights_name} weights, {backbone.precision}"
        f"{', compiled' if backbone.compiled else ''} on {device}; {decoder.name}; "
        f"{'' if part is None else f'part {part.number} of {part.of} of '}{len(dataset.videos()):,} videos into {out}"
    )
    for note in dict.fromkeys((*dataset.notes, dataset.measured()[1])):
        reporter.say(note)
    # The warning has told of doubts about bf16; what is left is why it is fp32, at a fraction of the speed.
    if backbone.precision_note and backbone.precision == "fp32":
        reporter.warn(f"computing in {backbone.precision_note}")
    recipe = ExtractRecipe(
        backbone=backbone.recipe(),
        decoder={"name": decoder.name, "version": decoder.version},
        views=views,
        batch_size=engine.batch_size,
        device=device.split(":")[0],
    )
    job = Job(recipe, Donors.of(dataset), engine.shard_size)
    warnings = [backbone.warning] if backbone.warning else []
    weights = resolve_weights(engine.weights)
    with crew_of(force, job, backbone, weights, decoder, device, engine.threads, out, part) as crew:
        versions = made_with(device)
        done = run_with(crew, job, dataset, out, reporter, warnings=warnings, versions=versions, part=part)
    if named is not None and not write_whereabouts(done.cache, named):
        reporter.say(f"{done.cache} takes no note of where its videos are; comix cache show needs --videos then")
    return done


def to_json(done: Extracted) -> dict[str, Any]:
    """For --json."""
    return {
        "cache": str(done.cache),
        "extracted": done.n_new,
        "present_before": done.n_present,
        "failures": list(done.failures),
        "part": None if done.part is None else [done.part.number, done.part.of],
    }


def closing(done: Extracted) -> RenderableType:
    """How it ended and what to do next; failures by name and reason."""
    part = "" if done.part is None else f", part {done.part.number} of {done.part.of}"
    lines = [f"{done.cache}{part}: {done.n_new:,} videos extracted, {done.n_present:,} were there"]
    if done.failures:
        lines.append(f"videos that could not be read: {len(done.failures):,}; the same command tries just these again:")
        lines += [f"  {one['id']}: {one['reason']}" for one in done.failures[:SHOWN_FAILURES]]
        if len(done.failures) > SHOWN_FAILURES:
            lines.append(f"  … all of them in {done.cache / 'failures.json'}")
    if done.part is not None and (waiting := _other_parts(done.cache, done.part)):
        return Group(*(Text(line) for line in [*lines, *waiting]))
    mixed = "" if FeatureCache(done.cache).mixed_views() else " --no-bgm"
    lines.append(f"next: comix adapt --from-cache {shlex.quote(str(done.cache))}{mixed}")
    return Group(*(Text(line) for line in lines))


def _other_parts(cache: Path, part: Part) -> list[str]:
    """Which parts this folder still waits for, as far as it knows; nothing if all are done."""
    finished = {record.part.number for record in read_records(cache) if record.finished and record.part.of == part.of}
    missing = [str(number) for number in range(1, part.of + 1) if number not in finished]
    if not missing:
        return []
    return [
        f"parts not finished in this folder: {first_few(missing, 12)} of {part.of}",
        "next: wait for them; where they have folders of their own: comix cache merge PART … --out CACHE",
    ]

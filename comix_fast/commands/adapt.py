"""`comix adapt`: choose the recipe, run stage two, show the table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.cache import FeatureCache
from comix_fast.cache.reader import DOMAINS, SPLITS
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.config import AdaptRecipe, digest
from comix_fast.console import Reporter
from comix_fast.errors import ComixError
from comix_fast.presets import ADAPT_PRESETS, adapt_preset
from comix_fast.stages import ablation as ablation_stage
from comix_fast.stages import adapt as stage
from comix_fast.stages import runs as run_files
from comix_fast.stages.bank import MemoryUse
from comix_fast.stages.runs import RunFolder
from comix_fast.tables import accuracy_table
from comix_fast.unread import unread

ABLATED = "ucf-hmdb-published"
"""The preset of an ablation."""


def choose_recipe(
    preset: str | None,
    options: Mapping[str, Any],
    *,
    bgm: bool = True,
    tpl: bool = True,
    source_only: bool = False,
    target_supervised: bool = False,
    ablation: bool = False,
) -> AdaptRecipe:
    """The preset, with what was typed over it. Raises ComixError for options that contradict each other.

    An ablation is of the published form unless a preset says otherwise: what is recommended has none of its parts.
    """
    if source_only and target_supervised:
        raise ComixError("--source-only and --target-supervised exclude each other")
    changes = dict(options)
    if not bgm:
        changes["mixing"] = False
    if not tpl:
        if options.get("lambda_tpl"):
            raise ComixError("--no-tpl and --lambda-tpl contradict each other")
        changes["lambda_tpl"] = 0.0
    if source_only or target_supervised:
        if options.get("method"):
            raise ComixError("--method contradicts --source-only and --target-supervised")
        changes["method"] = "source-only" if source_only else "target-supervised"
    if ablation and preset is None:
        preset = ABLATED
    return adapt_preset(preset).with_changes(changes)


def remarks(preset: str | None, options: Mapping[str, Any], recipe: AdaptRecipe) -> list[str]:
    """What to say aloud of the options as typed: those that decide nothing, and presets that are now the default."""
    typed = [name for name, value in options.items() if value is not None]
    found = [
        f"--{name.replace('_', '-')} decides nothing for method {recipe.method} with a {recipe.head} head and these λs"
        for name in unread(typed, [recipe])
    ]
    if preset is not None and f"{preset}-published" in ADAPT_PRESETS:
        found.append(f"preset {preset} is what is recommended for any cache; the published form is {preset}-published")
    return found


def run(
    recipe: AdaptRecipe,
    cache_path: Path,
    runs: Path,
    name: str | None,
    *,
    ablation: bool,
    threads: int | None,
    device: str,
    memory: MemoryUse,
    reporter: Reporter,
) -> list[RunFolder]:
    """One run, or the runs of an ablation."""
    set_threads(threads)
    cache = opened(cache_path, reporter)
    root = runs / run_name(name, recipe, cache, "ablation" if ablation else "")
    reporter.say(f"run {root}")
    place = choose_device(device)
    if ablation:
        if recipe.pooled:
            raise ComixError(
                f"--ablation is of CoMix's parts on its graph head, not on a {recipe.head} one",
                hint="leave out --head, or compare heads with comix compare",
            )
        if recipe.method != "comix" or not recipe.mixing or not recipe.lambda_tpl or not recipe.lambda_bgm:
            raise ComixError(
                "--ablation runs every part itself",
                hint="leave out the options that switch parts off, or take a published preset",
            )
        return ablation_stage.run(recipe, cache, root, reporter=reporter, device=place, memory=memory)
    return [stage.run(recipe, cache, root, reporter=reporter, device=place, memory=memory)]


def opened(path: Path, reporter: Reporter) -> FeatureCache:
    """A cache, what there is to warn of said aloud."""
    cache = FeatureCache(path)
    for warning in cache.warnings:
        reporter.warn(warning)
    for domain in DOMAINS:
        if absent := cache.n_missing(domain):
            reporter.warn(f"{absent:,} listed {domain} videos have no features in {path}: see comix cache info")
    return cache


def run_name(name: str | None, recipe: AdaptRecipe, cache: FeatureCache, kind: str, more: Any = None) -> str:
    """As typed, or after the cache, its lists and the recipe, so that the same command finds its run again.

    kind: "ablation", "sweep" or "". more: what else decides, as JSON values.
    """
    if name is not None:
        return plain_name(name)
    decides = {k: v for k, v in recipe.to_json().items() if k not in ("seed", "seeds")}
    lists = {f"{d} {s}": [(v.id, v.label) for v in cache.videos(d, s)] for d in DOMAINS for s in SPLITS}
    decides |= {"key": cache.key, "lists": lists} | ({} if more is None else {"more": more})
    return f"{cache.path.resolve().name}-{kind + '-' if kind else ''}{digest(decides)[:8]}"


def plain_name(name: str) -> str:
    """A run's name as typed. Raises ComixError if it would lead to another folder."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise ComixError(f"--name {name!r} is not a plain name", hint="choose the folder above it with --runs")
    return name


def results(done: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """results.json of each run."""
    return [run_files.read_json(run.root / run_files.RESULTS) for run in done]


def to_json(done: Sequence[RunFolder]) -> Any:
    """For --json: results.json with the run's folder, or a list of these for an ablation."""
    values = [{"run": str(run.root), **value} for run, value in zip(done, results(done), strict=True)]
    return values if len(values) > 1 else values[0]


def closing(done: Sequence[RunFolder], cache: Path) -> RenderableType:
    """The table and what to do next."""
    last = next(run for run in reversed(done) if run.recipe.method != "target-supervised" or len(done) == 1)
    lines = [f"run {last.root}"]
    if last.recipe.method != "target-supervised":
        where = f"--from-cache {shlex.quote(str(cache))} --run {shlex.quote(str(last.root))}"
        lines.append(f"next: comix retrieve {where}")
    return Group(accuracy_table(results(done)), *(Text(line) for line in lines))

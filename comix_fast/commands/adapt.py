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
from comix_fast.commands.from_run import require_same_classes, with_head_of
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.config import AdaptRecipe, digest
from comix_fast.confusion_text import ConfusionLines
from comix_fast.console import Reporter
from comix_fast.curves_text import run_curves
from comix_fast.errors import CacheError, ComixError, OutOfTime, RunError
from comix_fast.next_steps import NextSteps
from comix_fast.presets import ADAPT_PRESETS, adapt_preset
from comix_fast.stages import ablation as ablation_stage
from comix_fast.stages import adapt as stage
from comix_fast.stages import runs as run_files
from comix_fast.stages.bank import MemoryUse
from comix_fast.stages.belonging import backbone_sha256
from comix_fast.stages.confusions import confusion
from comix_fast.stages.results import method_name
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.start import Start, handed_on, start_of
from comix_fast.stages.stopping import Stop
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
    from_run: Path | None = None,
    max_minutes: float | None = None,
) -> list[RunFolder]:
    """One run, or the runs of an ablation.

    from_run: the run whose head it begins with. max_minutes: how long it may take; raises OutOfTime then.
    """
    stop = Stop(max_minutes)
    set_threads(threads)
    cache = opened(cache_path, reporter)
    start = None if from_run is None else _start(recipe, cache, from_run, reporter)
    more = None if start is None else {"start": start.sha256}
    root = runs / run_name(name, recipe, cache, "ablation" if ablation else "", more)
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
        return ablation_stage.run(recipe, cache, root, reporter=reporter, device=place, memory=memory, stop=stop)
    return [_one(recipe, cache, root, from_run, start, reporter=reporter, device=place, memory=memory, stop=stop)]


def resume(
    root: Path,
    *,
    threads: int | None,
    device: str | None,
    memory: MemoryUse,
    reporter: Reporter,
    max_minutes: float | None = None,
) -> tuple[list[RunFolder], Path]:
    """Goes on with a run as run.json has it; returns it in a list, and its cache. device: None takes the run's.

    Raises RunError for a run that another command has to go on with.
    """
    stop = Stop(max_minutes)
    set_threads(threads)
    run = RunFolder(root)
    _require_adapted(run)
    cache = opened(Path(run.meta["cache"]), reporter)
    from_run = Path(run.meta["from_run"]) if "from_run" in run.meta else None
    start = None if from_run is None else _start(run.recipe, cache, from_run, reporter)
    reporter.say(f"run {root}")
    place = choose_device(device or str(run.meta.get("device", "cpu")))
    done = _one(run.recipe, cache, root, from_run, start, reporter=reporter, device=place, memory=memory, stop=stop)
    return [done], cache.path


def _one(
    recipe: AdaptRecipe, cache: FeatureCache, root: Path, from_run: Path | None, start: Start | None, **where: Any
) -> RunFolder:
    kept = None if from_run is None else {"from_run": str(from_run.resolve())}
    try:
        return stage.run(recipe, cache, root, start=start, kept=kept, **where)
    except OutOfTime as stopped:
        raise OutOfTime(f"comix adapt --resume {shlex.quote(str(root))}") from stopped


def _require_adapted(run: RunFolder) -> None:
    """Raises RunError unless `comix adapt` has begun this run, and it alone."""
    if "video" in run.meta:
        raise RunError(
            f"{run.root} was made by comix finetune or comix train",
            hint=f"go on with comix train --resume {shlex.quote(str(run.root))}",
        )
    if not run.meta["cache"]:
        raise RunError(f"{run.root} was imported: there is nothing to go on with")
    if "together" in run.meta:
        raise RunError(
            f"{run.root} is one of {run.meta['together']:,} runs that train together",
            hint="give the command again that began them: comix adapt --ablation, comix sweep or comix compare",
        )


def begun_with(
    from_run: Path, options: Mapping[str, Any], *, ablation: bool, target_supervised: bool
) -> dict[str, Any]:
    """Options of the recipe as typed, and those that the head of a run brings; no warm-start unless one was typed.

    Raises ComixError for options that contradict it.
    """
    if ablation or target_supervised:
        option = "--ablation" if ablation else "--target-supervised"
        raise ComixError(f"--from-run and {option} contradict each other: the bound draws heads of its own")
    changes = with_head_of(RunFolder(from_run), options)
    return changes | ({"warmstart_iterations": 0} if changes.get("warmstart_iterations") is None else {})


def _start(recipe: AdaptRecipe, cache: FeatureCache, from_run: Path, reporter: Reporter) -> Start:
    """What a run hands on to one on this cache.

    Raises ComixError if the head tells other classes apart, CacheError if the cache's features are of another backbone.
    """
    run = RunFolder(from_run)
    start, (files, head) = start_of(run), handed_on(run)
    require_same_classes(run, cache.classes, str(cache.path))
    own = backbone_sha256(run, files, head)
    theirs = str(cache.recipe["backbone"]["weights_sha256"])
    if own != theirs:
        raise CacheError(
            f"the head of {from_run} takes features of another backbone than {cache.path} holds",
            [f"the run's weights: sha256 {own}", f"the cache's: sha256 {theirs}"],
            hint=f"extract again with --weights {shlex.quote(str(from_run))}"
            if files.backbone_path(head).exists()
            else "extract again with the weights that the run's own cache was made with",
        )
    names = tuple(str(run.meta[domain]) for domain in DOMAINS)
    here = tuple(cache.names[domain] for domain in (DOMAINS[::-1] if recipe.reverse else DOMAINS))
    if recipe.feature_norm == "domain" and names != here:
        theirs, ours = " → ".join(names), " → ".join(here)
        reporter.warn(f"{from_run} was for {theirs}, this is {ours}: features are standardised as they were there")
    if recipe.warmstart_iterations == 0 and not recipe.adapts:
        reporter.warn("nothing is trained, only measured: give a λ, a --method or --warmstart-iterations")
    return start


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
    """The table, how training went, what is taken for what, and what to do next."""
    last = next(run for run in reversed(done) if run.recipe.method != "target-supervised" or len(done) == 1)
    run = str(last.root)
    # Of several runs the folder that holds them: side by side.
    steps: list[tuple[str, ...]] = [("comix", "report", run if len(done) == 1 else str(last.root.parent))]
    if last.recipe.method != "target-supervised":
        steps.append(("comix", "retrieve", "--from-cache", str(cache), "--run", run, "--html"))
        steps.append(("comix", "predict", run, "VIDEOS"))
    shown = training_shown(last, of_several=len(done) > 1)
    return Group(accuracy_table(results(done)), *shown, Text(f"run {last.root}"), NextSteps(steps))


def training_shown(run: RunFolder, of_several: bool = False) -> list[RenderableType]:
    """A run's curves and confusions, each after an empty line; nothing of what there is not.

    of_several: whether the table above is of more runs than this one.
    """
    parts: list[RenderableType] = []
    if (curves := run_curves(run, method_name(run.recipe) if of_several else "")).shown:
        parts += ["", curves]
    if (found := confusion(run)) is not None:
        parts += ["", ConfusionLines(found)]
    return [*parts, ""]

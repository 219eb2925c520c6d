"""Methods × seeds on one cache: trained together or fitted, read back from their folders, and written as tables.

runs/<name>/
  <method>/                    a run folder, or predictions.json of what is fitted without a seed
  compare.{json,csv,md,tex}    accuracies, gains over the reference, ranks
  choosing.{json,md}           what each label-free score would have chosen
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast import comparison
from comix_fast.cache.reader import FeatureCache
from comix_fast.comparison import Cell, Comparison, MethodResult, ResultTable
from comix_fast.comparison.escaping import markdown
from comix_fast.config import AdaptRecipe, digest
from comix_fast.console import Reporter
from comix_fast.errors import RunError
from comix_fast.files import held_lock, whole_file, write_json
from comix_fast.selection import SCORES
from comix_fast.stages import adapt, choosing, choosing_text, runs
from comix_fast.stages.adapt import Lost
from comix_fast.stages.bank import MemoryUse, load_banks
from comix_fast.stages.baselines import logistic_baseline
from comix_fast.stages.choosing import Study
from comix_fast.stages.compare_reading import MeasuredVideos, lines_of, measured_list, measured_videos, trained_result
from comix_fast.stages.compared import REFERENCE, LogisticFit, Method, Schedule, allowed
from comix_fast.stages.pooling import parse_statistics
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.stopping import Stop
from comix_fast.version import __version__

PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    methods: those compared; left_out: name -> why the cache does not allow it; lost: seeds that were given up.
    notes: what a reader must know beside the table's own notes; files: what was written for people and scripts.
    """

    root: Path
    methods: tuple[Method, ...]
    table: ResultTable
    study: Study
    left_out: Mapping[str, str]
    lost: tuple[Lost, ...]
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The tables in every form."""
        named = [f"compare.{form}" for form in ("json", "csv", "md", "tex")] + ["choosing.json", "choosing.md"]
        return tuple(self.root / name for name in named)


def run(
    methods: Sequence[Method],
    schedule: Schedule,
    cache: FeatureCache,
    root: Path,
    *,
    reporter: Reporter,
    device: str = "cpu",
    memory: MemoryUse = "auto",
    stop: Stop | None = None,
) -> Compared:
    """Every method under every seed, each in a folder of its own below `root`; what is finished is not done again.

    device: where heads train. memory: whether features are loaded or mapped. stop: looked at between iterations;
    raises OutOfTime when its time is over. A seed whose loss is not finite is given up and the others go on. Raises
    CacheError if no target video to measure on is labelled, ComixError if the cache allows none of the methods,
    RunError if `root` holds other runs or another process is writing to it.
    """
    measured = measured_videos(cache, schedule.reverse)
    possible, left_out = allowed(methods, schedule, cache)
    for name, reason in left_out.items():
        reporter.say(f"left out: {name}: {reason}")
    refusal = RunError(f"another process is writing to {root}", hint="wait for it, or choose another --name")
    # Not the lock that training holds on this folder, which is taken below: until the tables are written.
    with held_lock(root.parent / f".{root.name}.compare.lock", refusal):
        fitted = _fit_missing(possible, schedule, cache, root, reporter, memory)
        folders, lost = _trained(possible, schedule, cache, root, reporter, device=device, memory=memory, stop=stop)
        trained = _finished(folders, lost)
        results = {
            method.name: _fitted_result(method, fitted[method.name], schedule, measured)
            if method.name in fitted
            else trained_result(method, *trained[method.name], measured)
            for method in possible
        }
        table = comparison.tabulate(_comparison(results, schedule, measured, _selection(possible)))
        study = choosing.study({name: lines for name, where in trained.items() if (lines := lines_of(*where))})
        notes = (*(f"left out: {name}: {reason}" for name, reason in left_out.items()), *cache.warnings, *cache.notes)
        compared = Compared(root, tuple(possible), table, study, left_out, tuple(lost), notes)
        _write(compared)
    return compared


def to_json(compared: Compared) -> dict[str, Any]:
    """The content of compare.json: the table unrounded, how each method is made, what is not in it and why."""
    how = {}
    for method in compared.methods:
        if isinstance(method.how, LogisticFit):
            how[method.name] = {"statistics": method.how.statistics, "feature_norm": method.how.norm}
        else:
            how[method.name] = RunFolder(compared.root / method.name).meta["recipe"]
    return {
        **comparison.to_json(compared.table),
        "left_out": dict(compared.left_out),
        "given_up": [
            {"method": one.folder.root.name, "seed": one.seed, "reason": one.error.message} for one in compared.lost
        ],
        "more_notes": list(compared.notes),
        "recipes": how,
    }


def _write(compared: Compared) -> None:
    """All tables, each whole."""
    write_json(compared.root / "compare.json", to_json(compared))
    write_json(compared.root / "choosing.json", compared.study.to_json())
    more = "".join(f"- {markdown(note)}\n" for note in compared.notes)
    texts = {
        "compare.csv": comparison.to_csv(compared.table),
        "compare.md": comparison.to_markdown(compared.table) + more,
        "compare.tex": comparison.to_latex(compared.table),
        "choosing.md": choosing_text.to_markdown(compared.study),
    }
    for name, text in texts.items():
        with whole_file(compared.root / name) as partial:
            partial.write_text(text, encoding="utf-8")


def _trained(
    methods: Sequence[Method],
    schedule: Schedule,
    cache: FeatureCache,
    root: Path,
    reporter: Reporter,
    **where: Any,
) -> tuple[list[RunFolder], list[Lost]]:
    """The runs of the trained methods, all their seeds trained together, and the seeds given up."""
    recipes = {root / method.name: method.how for method in methods if isinstance(method.how, AdaptRecipe)}
    if not recipes:
        return [], []
    reporter.say(f"{len(recipes)} methods, {schedule.seeds} seeds each: {len(recipes) * schedule.seeds} heads")
    # Several runs hold their folder's lock, one holds its own: then the folder's is held here.
    with adapt.writing_to(root) if len(recipes) == 1 else nullcontext():
        folders, lost = adapt.run_all(recipes, cache, reporter=reporter, **where)
    for one in lost:
        reporter.warn(f"{one.folder.root.name}, seed {one.seed}, is given up: {one.error.message}")
    return folders, lost


def _finished(folders: Sequence[RunFolder], lost: Sequence[Lost]) -> dict[str, tuple[RunFolder, tuple[int, ...]]]:
    """Run folders by method, and of each the seeds that were not given up."""
    gone = {(one.folder.root.name, one.seed) for one in lost}
    return {
        folder.root.name: (
            folder,
            tuple(seed for seed in folder.recipe.seed_list if (folder.root.name, seed) not in gone),
        )
        for folder in folders
    }


def _comparison(
    results: Mapping[str, MethodResult], schedule: Schedule, measured: MeasuredVideos, selection: str
) -> Comparison:
    return Comparison(
        labels=measured.labels,
        classes=measured.classes,
        methods=results,
        baseline=REFERENCE,
        seeds=tuple(range(schedule.seed, schedule.seed + schedule.seeds)),
        source=measured.source,
        target=measured.target,
        transductive=measured.transductive,
        selection=selection,
    )


def _selection(methods: Sequence[Method]) -> str:
    """How each trained method's step is chosen without labels."""
    by_score: dict[str, list[str]] = {}
    for method in methods:
        if isinstance(method.how, AdaptRecipe) and method.how.adapts:
            by_score.setdefault(SCORES[method.how.select_by].title, []).append(method.title)
    if not by_score:
        return "nothing adapts, so the last step stands"
    if len(by_score) == 1:
        (scores,) = by_score
    else:
        scores = "; ".join(f"{score} for {', '.join(titles)}" for score, titles in by_score.items())
    return f"{scores}, on the target's unlabelled training videos; where nothing adapts, the last step"


def _fit_missing(
    methods: Sequence[Method],
    schedule: Schedule,
    cache: FeatureCache,
    root: Path,
    reporter: Reporter,
    memory: MemoryUse,
) -> dict[str, tuple[int, ...]]:
    """What each fitted method predicts of every measured video, by name; read where it was fitted before."""
    fits = {method.name: method.how for method in methods if isinstance(method.how, LogisticFit)}
    if not fits:
        return {}
    identities = {name: _fit_identity(fit, cache, schedule.reverse) for name, fit in fits.items()}
    found = {name: _kept_predictions(root / name / PREDICTIONS, identities[name]) for name in fits}
    missing = [name for name, predicted in found.items() if predicted is None]
    if missing:
        banks = load_banks(cache, False, schedule.reverse, memory=memory, reporter=reporter)
        with (
            adapt.writing_to(root),
            reporter.progress("logistic regression", len(missing), "methods") as advance,
        ):
            for name in missing:
                statistics = parse_statistics(fits[name].statistics)
                logits = logistic_baseline(banks, statistics, fits[name].norm, len(cache.classes))
                predicted = logits.argmax(dim=1).tolist()
                _require_no_run(root / name)
                write_json(root / name / PREDICTIONS, {"identity": identities[name], "predicted": predicted})
                found[name] = predicted
                advance(1)
    return {name: tuple(predicted) for name, predicted in found.items() if predicted is not None}


def _require_no_run(folder: Path) -> None:
    if (folder / runs.RUN).exists():
        raise RunError(f"{folder} is a run; nothing was changed", hint="choose another --name")


def _fit_identity(fit: LogisticFit, cache: FeatureCache, reverse: bool) -> dict[str, Any]:
    """What decides the predictions of a fitted method: as JSON holds it."""
    source, target = ("target", "source") if reverse else ("source", "target")
    lists = {
        "source": [(video.id, video.label) for video in cache.videos(source, "train")],
        "target": [video.id for video in cache.videos(target, "train")],
        "measured": [video.id for video in measured_list(cache, reverse)],
        "classes": list(cache.classes),
    }
    return {
        "form": "1",
        "cache_key": cache.key,
        "dataset": digest(lists),
        "statistics": fit.statistics,
        "norm": fit.norm,
        "versions": {"comix-fast": __version__, "scikit-learn": importlib.metadata.version("scikit-learn")},
    }


def _kept_predictions(path: Path, identity: Mapping[str, Any]) -> list[int] | None:
    """Predictions made before under the same identity; None where there are none, or none that can be read."""
    try:
        kept = runs.read_json(path)
    except RunError:
        return None
    fits = isinstance(kept, dict) and kept.get("identity") == identity and isinstance(kept.get("predicted"), list)
    return kept["predicted"] if fits else None


def _fitted_result(
    method: Method, predicted: Sequence[int], schedule: Schedule, measured: MeasuredVideos
) -> MethodResult:
    cell = Cell(measured.labelled(predicted))
    return MethodResult(
        method.title, {schedule.seed: {"last": cell}}, method.family, deterministic=True, note=method.note
    )

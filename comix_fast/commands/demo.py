"""`comix demo`: two synthetic domains, the whole way to a report, as the other commands would go it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.cache.whereabouts import Whereabouts
from comix_fast.commands import adapt, extract, report, retrieve
from comix_fast.commands.machine import choose_device
from comix_fast.config import ViewPlan
from comix_fast.console import Reporter
from comix_fast.demo import CLASSES, make_domains
from comix_fast.errors import ComixError
from comix_fast.presets import RECOMMENDED, TEACHER_WEIGHT
from comix_fast.report.gallery import Gallery
from comix_fast.stages.retrieve import Retrieved
from comix_fast.stages.runs import RunFolder
from comix_fast.tables import accuracy_table, retrieval_tables

Part = TypeVar("Part")
VIDEOS_PER_CLASS = 5
VIEWS = ViewPlan(speeds=(), mixes=2)
# The published schedule is for thousands of videos; these few are learnt long before.
# With a teacher: on drawn people before still backgrounds it helps, see docs/evidence.md.
RECIPE = replace(RECOMMENDED, warmstart_iterations=300, iterations=300, eval_every=50, lambda_teacher=TEACHER_WEIGHT)


@dataclass(frozen=True)
class Shown:
    """What the demo made. seconds: how long each part took, by name."""

    cache: Path
    run: RunFolder
    retrieved: Retrieved
    gallery: Gallery
    report: report.Reported
    seconds: dict[str, float]


def engine(weights: str, precision: str, device: str, threads: int | None) -> extract.Engine:
    """What computes the features: I3D, with these choices."""
    return extract.Engine(weights=weights, precision=precision, device=device, threads=threads)


def run(out: Path, seed: int, seeds: int, using: extract.Engine, reporter: Reporter) -> Shown:
    """Draws, extracts, adapts and retrieves below `out`; what is there already is kept."""
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Part]) -> Part:
        reporter.say(f"── {part}")
        begun = time.monotonic()
        value = work()
        seconds[part] = time.monotonic() - begun
        return value

    choose_device(using.device)  # a mistyped device is an error before minutes of drawing
    toml = timed("draw two domains of people who act", lambda: _draw(out / "videos", seed, reporter))
    dataset = extract.choose_dataset(toml, None, None, None, None, None, False, False)
    done = timed(
        "comix extract: every clip through the backbone, once",
        lambda: extract.run(
            dataset, out / "cache", using, replace(VIEWS, seed=seed), reporter, named=Whereabouts(toml=toml)
        ),
    )
    if done.failures:
        raise ComixError(
            f"{len(done.failures)} of the demo's own videos could not be read: {done.failures[0]['reason']}",
            hint=f"delete {out} and run the demo again",
        )
    recipe = replace(RECIPE, seed=seed, seeds=seeds)
    (adapted,) = timed(
        "comix adapt: warm-start on the source, adaptation to the target",
        lambda: adapt.run(
            recipe,
            done.cache,
            out / "runs",
            "demo",
            ablation=False,
            threads=using.threads,
            device=using.device,
            memory="auto",
            reporter=reporter,
        ),
    )
    retrieved, gallery = timed(
        "comix retrieve --html: the target's nearest neighbours in the source, and their gallery",
        lambda: _retrieve(done.cache, adapted.root, reporter),
    )
    reported = timed(
        "comix report: a page about the run",
        lambda: report.run([adapted.root], report.Options(), reporter),
    )
    return Shown(done.cache, adapted, retrieved, gallery, reported, seconds)


def _retrieve(cache: Path, run: Path, reporter: Reporter) -> tuple[Retrieved, Gallery]:
    asked, page = retrieve.Asked(), retrieve.PageAsked()
    out = retrieve.json_path(cache, run, asked, None)
    footage = retrieve.find_footage(cache, page, out)
    found = retrieve.run(cache, run, asked, out)
    return found, retrieve.show(found, cache, page, footage, reporter)


def _draw(folder: Path, seed: int, reporter: Reporter) -> Path:
    total = 2 * len(CLASSES) * VIDEOS_PER_CLASS
    with reporter.progress("drawing videos", total, "videos") as advance:
        before = 0

        def progress(done: int, _total: int) -> None:
            nonlocal before
            advance(done - before)
            before = done

        return make_domains(folder, seed, VIDEOS_PER_CLASS, progress)


def to_json(shown: Shown) -> dict[str, Any]:
    """For --json."""
    return {
        "cache": str(shown.cache),
        "run": adapt.to_json([shown.run]),
        "retrieval": str(shown.retrieved.json),
        "gallery": str(shown.gallery.path),
        "report": str(shown.report.path),
        "seconds": shown.seconds,
    }


def closing(shown: Shown) -> RenderableType:
    """The summary: accuracy before and after as measured, neighbours, times, and what to type next."""
    results = adapt.results([shown.run])
    rows = {row["phase"]: row["selected"]["mean"] for row in results[0]["rows"]}
    before, after = rows["warmstart"], rows["adapt"]
    summary = (
        f"target accuracy: source-only {100 * before:.1f} %, adapted {100 * after:.1f} % "
        f"({100 * (after - before):+.1f} points; steps chosen without labels)"
    )
    times = ", ".join(f"{part.split(':')[0]} {seconds:.0f} s" for part, seconds in shown.seconds.items())
    return Group(
        retrieval_tables(shown.retrieved, 2),
        "",
        accuracy_table(results),
        "",
        Text(summary, style="bold"),
        Text(f"{times}; {sum(shown.seconds.values()):.0f} s in all"),
        Text(f"cache {shown.cache}, run {shown.run.root}"),
        Text("on your own videos: comix extract --source A --target B --out cache/ab"),
        Text(f"gallery {shown.gallery.path}"),
        Text(f"report {shown.report.path}"),
    )

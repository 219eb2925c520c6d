"""`comix retrieve`: open cache and run, search, show scores and examples, write the gallery."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.cache import FeatureCache
from comix_fast.cache.stored_json import read_json
from comix_fast.console import Reporter
from comix_fast.pictures import Footage
from comix_fast.printable import printable
from comix_fast.report.gallery import Gallery, Wanted, write_gallery
from comix_fast.report.page import require_page
from comix_fast.retrieval import IndexChoice
from comix_fast.stages import retrieve as stage
from comix_fast.stages.retrieve import Retrieved
from comix_fast.stages.runs import RunFolder
from comix_fast.tables import retrieval_tables


@dataclass(frozen=True)
class Asked:
    """What is searched for what, as typed. seed: whose heads; index, index_search: of IndexChoice."""

    query: str = "target"
    gallery: str = "source"
    k: int | None = None
    seed: int | None = None
    index: str = "Flat"
    index_search: str = ""


@dataclass(frozen=True)
class PageAsked:
    """The gallery as typed. page: its file; max_size: in MB, 10⁶ bytes; mix_examples: draws of mixing on it."""

    page: Path | None = None
    videos: Path | None = None
    max_size: float = 16
    pictures: bool = True
    mix_examples: int = 24


def run(cache_path: Path, run_path: Path | None, asked: Asked, out: Path | None) -> Retrieved:
    """Searches, and writes the JSON beside: into the run, or into runs/ for the raw features alone."""
    choice = IndexChoice(asked.index, asked.index_search, asked.seed or 0)
    cache = FeatureCache(cache_path)
    from_run = None if run_path is None else RunFolder(run_path)
    if out is None:
        name = f"retrieval-{asked.query}-{asked.gallery}.json"
        out = Path("runs") / f"{cache.path.resolve().name}-{name}" if run_path is None else run_path / name
    return stage.run(
        cache,
        out,
        query=asked.query,
        gallery=asked.gallery,
        k=asked.k,
        from_run=from_run,
        seed=asked.seed,
        index=choice,
    )


def find_footage(cache_path: Path, page: PageAsked) -> Footage | None:
    """Where the videos are; None if no pictures are wanted. Ask before the search: a wrong --page or --videos is an
    error at once. Raises ComixError for these."""
    if page.page is not None:
        require_page(page.page, "--page")
    return Footage.of(FeatureCache(cache_path), page.videos) if page.pictures else None


def show(done: Retrieved, cache_path: Path, page: PageAsked, footage: Footage | None, reporter: Reporter) -> Gallery:
    """Writes the gallery, by default beside the JSON under the same name."""
    wanted = Wanted(math.floor(page.max_size * 1e6), page.pictures, page.mix_examples)
    run, seed = (read_json(done.json).get(name) for name in ("run", "seed"))
    return write_gallery(
        done,
        page.page or done.json.with_suffix(".html"),
        cache=FeatureCache(cache_path),
        footage=footage,
        made_from="" if run is None else f"run {run}, seed {seed}",
        wanted=wanted,
        reporter=reporter,
        threads=os.cpu_count() or 1,
    )


def to_json(done: Retrieved, gallery: Gallery | None = None) -> Any:
    """For --json: what was written."""
    value = read_json(done.json)
    return value if gallery is None else {**value, "page": {"path": str(gallery.path), "notes": list(gallery.notes)}}


def closing(done: Retrieved, examples: int, gallery: Gallery | None = None) -> RenderableType:
    """Scores, k-NN accuracy per class, a few queries with their neighbours, where the rest is."""
    lines = [Text(f"all neighbours: {done.json}")]
    if gallery is not None:
        lines += [Text(printable(note), style="dim") for note in gallery.notes]
        lines.append(Text(f"gallery {gallery.path}, {gallery.n_bytes / 1e6:,.2f} MB"))
    return Group(retrieval_tables(done, examples), "", *lines)

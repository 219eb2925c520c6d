"""`comix retrieve`: open cache and run, search, show scores and examples, write the gallery."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.cache import FeatureCache
from comix_fast.cache.stored_json import read_json
from comix_fast.console import Reporter
from comix_fast.errors import ComixError
from comix_fast.pictures import Footage
from comix_fast.printable import printable
from comix_fast.report import MAX_MB
from comix_fast.report.gallery import TEMPLATE, Gallery, Wanted, write_gallery
from comix_fast.report.page import page_bytes, require_page, require_replaceable
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
    max_size: float = MAX_MB
    pictures: bool = True
    mix_examples: int = 24


def run(cache_path: Path, run_path: Path | None, asked: Asked, out: Path) -> Retrieved:
    """Searches, and writes the JSON to `out`, see json_path."""
    choice = IndexChoice(asked.index, asked.index_search, asked.seed or 0)
    cache = FeatureCache(cache_path)
    from_run = None if run_path is None else RunFolder(run_path)
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


def json_path(cache_path: Path, run_path: Path | None, asked: Asked, out: Path | None) -> Path:
    """Where the result goes: into the run, or into runs/ for the raw features alone.

    Raises ComixError if `out` is no name of a JSON file, or what is there is no former result.
    """
    if out is None:
        name = f"retrieval-{asked.query}-{asked.gallery}.json"
        return Path("runs") / f"{cache_path.resolve().name}-{name}" if run_path is None else run_path / name
    if out.suffix.lower() != ".json" or out.is_dir():
        raise ComixError(f"--out {out} is not the name of a JSON file", hint="give --out NAME.json")
    if out.exists() and not _is_result(out):
        raise ComixError(f"{out} is there and is no former result of comix retrieve", hint="give another --out")
    return out


def _is_result(path: Path) -> bool:
    try:
        return "spaces" in json.loads(path.read_bytes())
    except (ValueError, TypeError):
        return False


def find_footage(cache_path: Path, page: PageAsked, beside: Path) -> Footage | None:
    """Where the videos are; None if no pictures are wanted. Asked before the search: a wrong --page, --videos or
    --max-size is an error at once. beside: the JSON. Raises ComixError for these, OSError for what can't be written."""
    page_bytes(page.max_size)
    footage = Footage.of(FeatureCache(cache_path), page.videos) if page.pictures else None
    if page.page is not None:
        require_page(page.page, "--page")
    else:
        require_replaceable(page_path(page, beside), TEMPLATE, "--page")
    return footage


def page_path(page: PageAsked, beside: Path) -> Path:
    """As typed, or beside the JSON under its name."""
    return page.page or beside.with_suffix(".html")


def show(done: Retrieved, cache_path: Path, page: PageAsked, footage: Footage | None, reporter: Reporter) -> Gallery:
    """Writes the gallery to page_path."""
    wanted = Wanted(page_bytes(page.max_size), page.pictures, page.mix_examples)
    run, seed = (read_json(done.json).get(name) for name in ("run", "seed"))
    return write_gallery(
        done,
        page_path(page, done.json),
        cache=FeatureCache(cache_path),
        footage=footage,
        made_from="" if run is None else f"{run}, seed {seed}",
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

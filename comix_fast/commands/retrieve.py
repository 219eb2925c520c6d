"""`comix retrieve`: open cache and run, search, show scores and examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.cache import FeatureCache
from comix_fast.cache.stored_json import read_json
from comix_fast.retrieval import IndexChoice
from comix_fast.stages import retrieve as stage
from comix_fast.stages.retrieve import Retrieved
from comix_fast.stages.runs import RunFolder
from comix_fast.tables import retrieval_tables


def run(
    cache_path: Path,
    run_path: Path | None,
    query: str,
    gallery: str,
    k: int | None,
    seed: int | None,
    out: Path | None,
    index: str = "Flat",
    index_search: str = "",
) -> Retrieved:
    """Searches, and writes the JSON beside: into the run, or into runs/ for the raw features alone."""
    choice = IndexChoice(index, index_search, seed or 0)
    cache = FeatureCache(cache_path)
    from_run = None if run_path is None else RunFolder(run_path)
    if out is None:
        name = f"retrieval-{query}-{gallery}.json"
        out = Path("runs") / f"{cache.path.resolve().name}-{name}" if run_path is None else run_path / name
    return stage.run(cache, out, query=query, gallery=gallery, k=k, from_run=from_run, seed=seed, index=choice)


def to_json(done: Retrieved) -> Any:
    """For --json: what was written."""
    return read_json(done.json)


def closing(done: Retrieved, examples: int) -> RenderableType:
    """Scores, k-NN accuracy per class, a few queries with their neighbours."""
    return Group(retrieval_tables(done, examples), "", Text(f"all neighbours: {done.json}"))

"""`comix retrieve`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.errors import ComixError
from comix_fast.options import CacheFolder, Json, Quiet, Videos
from comix_fast.report import MAX_MB


def retrieve(
    from_cache: CacheFolder,
    run: Annotated[
        Path | None, typer.Option(help="A run of this cache: compare its heads with the raw features.")
    ] = None,
    query: Annotated[str, typer.Option(help="Whose videos ask: source or target.")] = "target",
    gallery: Annotated[str, typer.Option(help="Whose videos answer: source or target.")] = "source",
    k: Annotated[int | None, typer.Option("-k", min=1, help="Neighbours per query. Default: 5.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which seed of the run. Default: its first.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Queries shown with their neighbours.")] = 4,
    index: Annotated[
        str, typer.Option(help="A faiss factory string: Flat (exact), SQfp16, PQ64, IVF256,Flat, HNSW32 …")
    ] = "Flat",
    index_search: Annotated[
        str, typer.Option(help="How hard it searches: nprobe=32, efSearch=128. Default: grows with the index.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="The JSON file. Default: in the run, or in runs/.")] = None,
    html: Annotated[bool, typer.Option("--html", help="A page too: all queries and their neighbours.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="With --html: the page. Default: beside the JSON, under its name.")
    ] = None,
    videos: Videos = None,
    max_size: Annotated[
        float, typer.Option(min=0.1, help="With --html: MB that the page may take; smaller pictures keep it below.")
    ] = MAX_MB,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="With --html: previews on it.")] = True,
    mix_examples: Annotated[
        int, typer.Option(min=0, help="With --html: draws of background mixing on it, where the cache has some.")
    ] = 24,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find each video's nearest neighbours in the other domain, and score them; show them all with --html.

    An index other than Flat may miss neighbours: its recall against Flat is measured and printed.
    """
    from comix_fast.commands import retrieve as command

    asked = command.Asked(query, gallery, k, seed, index, index_search)
    wanted = command.PageAsked(page, videos, max_size, pictures, mix_examples)
    if not html and wanted != command.PageAsked():
        raise ComixError(
            "--page, --videos, --max-size, --no-pictures and --mix-examples are for the page that --html makes",
            hint="add --html",
        )
    out = command.json_path(from_cache, run, asked, out)
    footage = command.find_footage(from_cache, wanted, out) if html else None
    done = command.run(from_cache, run, asked, out)
    shown = command.show(done, from_cache, wanted, footage, Terminal(quiet)) if html else None
    print_answer(command.to_json(done, shown), as_json, command.closing(done, examples, shown))


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        epilog="Examples: comix retrieve --from-cache cache/ut --run runs/ut-1a2b3c4d -k 5 · the same with --html"
    )(retrieve)

"""`comix report`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.options import Json, Quiet, Videos
from comix_fast.report import MAX_MB


def report(
    run: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN…", help="Folders of runs, or of a comparison, a sweep or an ablation, for its runs."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page. Default: report.html in the run, or beside several.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Whose heads the map shows. Default: each run's first that is finished.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The cache, if it is not where the runs left it, for the map.")
    ] = None,
    videos: Videos = None,
    max_size: Annotated[
        float, typer.Option(min=0.1, help="MB that the page may take; smaller pictures, or none, keep it below.")
    ] = MAX_MB,
    map_videos: Annotated[int, typer.Option(min=1, help="Videos on the map of each run at most.")] = 3000,
    map_: Annotated[bool, typer.Option("--map/--no-map", help="A map of the videos, by t-SNE.")] = True,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Stills of the videos on it.")] = True,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Neighbours that say how far domains mix.")] = 5,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One page about a run, or several side by side: recipe, accuracy, curves, confusion, a map of the videos.

    It opens anywhere, from a mail's attachment too. Without the cache it has no map, and says so.
    """
    from comix_fast.commands import report as command

    options = command.Options(out, seed, cache, videos, max_size, map_videos, k, map_, pictures)
    done = command.run(run, options, Terminal(quiet))
    print_answer(command.to_json(done), as_json, command.closing(done))


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Examples: comix report runs/ut-1a2b3c4d · comix report runs/ut-compare --max-size 8")(report)

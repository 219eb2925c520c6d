"""The command line of feature caches: what they hold, whether it is sound, and other forms of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comix_fast.console import print_answer
from comix_fast.options import Json

cache_app = typer.Typer(no_args_is_help=True, help="Look at feature caches, check them, join them, hand them on.")

Folder = Annotated[Path, typer.Argument(help="The cache's folder, or the file of a compacted one.")]


def add_to(app: typer.Typer) -> None:
    """Adds `comix cache …`."""
    app.add_typer(cache_app, name="cache")


@cache_app.command("info", epilog="Example: comix cache info cache/ut")
def cache_info(folder: Folder, as_json: Json = False) -> None:
    """Say what a cache holds: recipe, key, videos and clips per view, what failed."""
    from comix_fast.commands import cache as command

    summary = command.summary(folder)
    print_answer(command.to_json(summary), as_json, command.table(summary))

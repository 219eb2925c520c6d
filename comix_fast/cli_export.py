"""`comix export`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.options import Json, Quiet, Threads


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder; its cache is not needed.")],
    form: Annotated[
        Literal["onnx", "torch"],
        typer.Option("--format", help="onnx: an ONNX file. torch: torch.export's .pt2, which torch alone reads."),
    ] = "onnx",
    part: Annotated[
        Literal["all", "backbone", "head"],
        typer.Option(help="all: clips to classes. backbone: clips to features. head: features to classes."),
    ] = "all",
    out: Annotated[Path | None, typer.Option(help="The file. Default: in the run, named after seed and head.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which seed of the run. Default: its first.")] = None,
    head: Annotated[
        Literal["source-only", "last", "selected"] | None,
        typer.Option(help="Which head of the seed. Default: last, or source-only where there was no adaptation."),
    ] = None,
    domain: Annotated[
        Literal["source", "target"], typer.Option(help="Standardise features as this domain's: whose videos will come?")
    ] = "target",
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights file, if the run's features were made with one.")
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write an adapted model for other programs, in float32, and check that the file answers as the model does.

    The file says itself what it needs: its metadata holds the classes, the preprocessing and the clip plan. It takes
    any number of videos at once, and any number of clips of each where the head is on statistics over time.
    """
    from comix_fast.commands import export as command

    choice = command.Choice(seed, head, domain, weights)
    done = command.run(run, choice, form, part, out, threads, Terminal(quiet))
    print_answer(command.to_json(done), as_json, command.closing(done))


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: comix export runs/ut-1a2b3c4d --format onnx --out ut.onnx")(export)

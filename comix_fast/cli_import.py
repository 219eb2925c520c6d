"""`comix import`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.options import BackboneName, Device, Json, Precision, Quiet


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "import",
        epilog="Example: comix import --graph Graph-CoMix-Model-Best.pth --i3d I3D-CoMix-Model-Best.pth "
        "--classes ucf-hmdb --out runs/published",
    )(import_checkpoints)


def import_checkpoints(
    graph: Annotated[Path, typer.Option(help="The head: Graph-….pth, or Current-Checkpoint.pt, which holds both.")],
    classes: Annotated[
        str,
        typer.Option(
            help="The classes in the order of their labels: a text file with one a line, a dataset's TOML file, or a "
            "published preset (ucf-hmdb, jester, epic-d1-d2 …)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    i3d: Annotated[
        Path | None,
        typer.Option(help="The backbone: I3D-….pth. Without it: that of Kinetics-400, which such heads do not fit."),
    ] = None,
    head: Annotated[
        Literal["last", "source-only"] | None,
        typer.Option("--as", help="What to keep the head as. Default: source-only if its file is named so, else last."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="The source's name. Default: that of --classes.")] = None,
    target: Annotated[str | None, typer.Option(help="The target's name. Default: that of --classes.")] = None,
    backbone: BackboneName = "i3d",
    precision: Precision = "auto",
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a run of checkpoints of the published CoMix code: to predict, export or extract with.

    Only tensors are read: a file that holds anything which would have to be run is refused.
    """
    from comix_fast.commands import import_run as command

    done = command.run(
        graph,
        i3d,
        command.read_terms(classes, source, target),
        out,
        head=head,
        backbone=backbone,
        precision=precision,
        device=device,
        reporter=Terminal(quiet),
    )
    print_answer(command.to_json(done), as_json, command.closing(done))

"""`comix predict`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.options import DecoderName, Device, Json, Quiet, Threads, limit_options, take_limits, takes_options


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder; its cache is not needed.")],
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="VIDEO",
            help="Video files, folders of frames, or folders to look for videos in.",
            show_default=False,
        ),
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="A file with a path on every line; - for standard input.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes of each video, the likeliest first.")] = 5,
    seed: Annotated[int | None, typer.Option(min=0, help="Which seed of the run. Default: its first.")] = None,
    head: Annotated[
        Literal["source-only", "last", "selected"] | None,
        typer.Option(help="Which head of the seed. Default: last, or source-only where there was no adaptation."),
    ] = None,
    domain: Annotated[
        Literal["source", "target"], typer.Option(help="Standardise features as this domain's: whose videos are these?")
    ] = "target",
    weights: Annotated[
        str | None,
        typer.Option(help="The backbone's file, or the run that trained it, if the run's features were made with one."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    decoder: DecoderName = "auto",
    csv: Annotated[
        Path | None, typer.Option(help="Write the results as CSV to this file, in place of the table; - for stdout.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    **limits: Any,
) -> None:
    """Classify videos with an adapted model: the likeliest classes of each, with probabilities.

    Videos that can't be read are listed with the reason, and the exit code is then 1.
    """
    from comix_fast.commands import predict as command

    command.require_outputs(as_json, csv)
    found = command.named_videos(videos or [], listed)
    reporter = Terminal(quiet)
    done = command.run(
        run,
        found,
        top_k,
        command.Choice(seed, head, domain, weights, device, threads, decoder, take_limits(limits)),
        reporter,
    )
    if csv is not None:
        command.write_csv(done, csv)
    if csv is None or str(csv) != command.STDIO:
        print_answer(command.to_json(done), as_json, command.closing(done, csv))
    elif done.answers.failed:
        reporter.warn(f"videos that could not be read: {len(done.answers.failed):,}; the column error says why")
    if done.answers.failed:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: comix predict runs/ut-1a2b3c4d new-videos --top-k 3 --csv predictions.csv")(
        takes_options(predict, limit_options())
    )

"""`comix extract`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.options import (
    BackboneName,
    BatchClips,
    Compiled,
    DecoderName,
    Device,
    Json,
    Precision,
    Quiet,
    Threads,
    Weights,
    limit_options,
    take_limits,
    takes_options,
)


def extract(
    context: typer.Context,
    dataset: Annotated[Path | None, typer.Argument(help="The dataset's TOML file.")] = None,
    source: Annotated[Path | None, typer.Option(help="Folder of class folders: the labelled source.")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of class folders, or of videos without labels.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="A published layout: ucf-hmdb, hmdb-ucf, jester, epic-d1-d2 …")
    ] = None,
    base_dir: Annotated[Path | None, typer.Option(help="With --preset: the folder of the published layout.")] = None,
    splits: Annotated[Path | None, typer.Option(help="With --preset: the folder of its split files.")] = None,
    published_validation: Annotated[
        bool,
        typer.Option(
            "--published-validation", help="Jester only: measure on the source's list, as the published code did."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The cache to make or fill. Default: cache/NAME.")] = None,
    backbone: BackboneName = "i3d",
    weights: Weights = "kinetics400",
    precision: Precision = "auto",
    views: Annotated[
        str,
        typer.Option(
            help="Views: plain, bgmix, speed-2 … speed-9; adapt reads plain and bgmix, the speeds are for other uses."
        ),
    ] = "plain,speed-2,bgmix",
    mixes: Annotated[int, typer.Option(help="Draws of background mixing per training video.")] = 4,
    seed: Annotated[int, typer.Option(help="Decides donors, γ and starts of the mixes.")] = 0,
    batch_size: BatchClips = 16,
    shard_size: Annotated[int, typer.Option(min=1, help="Videos per shard: what an interruption can lose.")] = 32,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only the I-th of N parts of the dataset, for N machines or jobs, into one folder or one each.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local: this machine; ray: a Ray cluster (the extra scale).")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that decode and compute, a GPU each where there are several; a video that ends its process "
            "is tried three times. With --engine ray: actors. Default: this one; all that Ray has room for.",
        ),
    ] = None,
    device: Device = "auto",
    compiled: Compiled = None,
    decoder: DecoderName = "auto",
    threads: Threads = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out listed videos that have no file.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    **limits: Any,
) -> None:
    """Stage one: run the backbone over every video once and keep its clip features.

    The same command again does only what is missing; another recipe in the same folder is refused.
    """
    from comix_fast.cache.whereabouts import Whereabouts
    from comix_fast.commands import extract as command
    from comix_fast.commands.extract_crew import Force

    terminal = Terminal(quiet)
    chosen = command.choose_dataset(
        dataset, source, target, preset, base_dir, splits, published_validation, allow_missing
    )
    done = command.run(
        chosen,
        out or command.default_out(chosen),
        command.Engine(
            backbone,
            weights,
            precision,
            device,
            decoder,
            threads,
            batch_size,
            shard_size,
            compiled,
            take_limits(limits),
        ),
        command.view_plan(views, mixes, seed),
        terminal,
        command.typed_part(shard),
        Force(engine, workers, debug=bool(context.obj)),
        Whereabouts(dataset, source, target, preset, base_dir, splits, published_validation),
    )
    print_answer(command.to_json(done), as_json, command.closing(done))
    if done.failures:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(epilog="Example: comix extract ut.toml --out cache/ut")(takes_options(extract, limit_options()))

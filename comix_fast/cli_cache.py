"""The command line of feature caches: what they hold, whether it is sound, and other forms of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from comix_fast.cli_models import AllowMissing, BaseDir, DatasetFile, Source, Splits, Target
from comix_fast.console import Terminal, print_answer
from comix_fast.options import Json, Quiet, Threads, Videos

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


@cache_app.command("verify", epilog="Example: comix cache verify cache/ut ut.toml --recompute 5")
def verify(
    cache: Folder,
    dataset: DatasetFile = None,
    recompute: Annotated[
        int, typer.Option(min=0, help="Extract so many random videos again and compare; name the dataset as extract.")
    ] = 0,
    source: Source = None,
    target: Target = None,
    preset: Annotated[str | None, typer.Option(help="A published layout, as for extract.")] = None,
    base_dir: BaseDir = None,
    splits: Splits = None,
    published_validation: Annotated[
        bool, typer.Option("--published-validation", help="Jester only, as for extract.")
    ] = False,
    allow_missing: AllowMissing = False,
    weights: Annotated[
        str | None, typer.Option(help="The file, or run, of the cache's weights, where they have no name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which videos are extracted again.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: what the recipe names, if it is here.")
    ] = None,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check every byte of a cache, and extract some of its videos again.

    Exit code 1: something is wrong; the answer names the files and says what to do.
    """
    from comix_fast.commands import cache_verify as command
    from comix_fast.commands.asked import Where

    where = Where(dataset, source, target, preset, base_dir, splits, published_validation, allow_missing)
    asked = command.Recomputing(recompute, seed, weights, device, threads)
    checked = command.run(cache, where, asked, Terminal(quiet))
    print_answer(command.to_json(checked), as_json, command.table(checked))
    if not checked.sound:
        raise typer.Exit(1)


@cache_app.command("merge", epilog="Example: comix cache merge part-1 part-2 part-3 --out cache/ut")
def merge(
    parts: Annotated[list[Path], typer.Argument(help="The folders that the parts were extracted into.")],
    out: Annotated[Path, typer.Option(help="The cache to make or to add to; it may be one of the parts.")],
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Join what there is, although parts are missing or not finished.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Join the folders that the parts of an extract were written to.

    Files are copied, and checked before and after. The same command again does only what is missing.
    """
    from comix_fast.commands import cache_merge as command

    done = command.run(parts, out, allow_missing, Terminal(quiet))
    print_answer(command.to_json(done), as_json, command.closing(done))


@cache_app.command("compact", epilog="Example: comix cache compact cache/ut --out ut.h5")
def compact(
    cache: Folder,
    out: Annotated[Path, typer.Option(help="The HDF5 file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a cache into one HDF5 file, to hand on: h5py alone reads it, and so does every --from-cache."""
    from comix_fast.commands import cache_compact as command

    done = command.run(cache, out, force, Terminal(quiet))
    print_answer(command.to_json(done), as_json, command.closing(done))


@cache_app.command("export", epilog="Example: comix cache export cache/ut --out ut-npy --format npy --views plain")
def export(
    cache: Folder,
    out: Annotated[Path, typer.Option(help="The folder to write to: a new or an empty one.")],
    form: Annotated[Literal["npy", "safetensors"], typer.Option("--format", help="What to write.")] = "npy",
    views: Annotated[str | None, typer.Option(help="Views separated by commas. Default: all.")] = None,
    split: Annotated[str | None, typer.Option(help="train, test or both, with a comma. Default: all lists.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write features as plain arrays, for programs without HDF5; a README.txt beside them says what is what."""
    from comix_fast.commands import cache_export as command

    done = command.run(cache, out, form, views, split, Terminal(quiet))
    print_answer(command.to_json(done), as_json, command.closing(done))


@cache_app.command("show", epilog="Example: comix cache show cache/ut set1/hug/14_3_1.avi")
def show(
    cache: Folder,
    video: Annotated[str, typer.Argument(help="The video's id, or a part of it that no other id has.")],
    videos: Videos = None,
    out: Annotated[
        Path | None, typer.Option(help="The PNG file to write. Default: named after the video, in this folder.")
    ] = None,
    speed: Annotated[
        int, typer.Option(min=1, max=9, help="Show the bins by clips of the view speed-N. Default: plain.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet of one video: its bins and starts, repeated frames, and the views the cache has of it."""
    from comix_fast.commands import cache_show as command

    written = command.run(cache, video, videos, out, speed)
    print_answer(command.to_json(written), as_json, command.closing(written))

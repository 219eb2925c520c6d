"""The command line: one function per command, each parses, calls and prints."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from comix_fast import cli_cache, cli_export, cli_extract, cli_import, cli_models, cli_predict, cli_report, cli_retrieve
from comix_fast.console import Terminal, print_answer
from comix_fast.errors import ComixError, OutOfTime
from comix_fast.options import (
    BackboneName,
    CacheFolder,
    Device,
    Json,
    MaxMinutes,
    MemoryOption,
    Precision,
    Preset,
    Quiet,
    Threads,
    Weights,
    require_resumable,
    takes_adapt_options,
    typed_options,
)
from comix_fast.version import __version__

INTERRUPTED = 130
NOTHING_KEPT = (
    "predict", "export", "import", "weights", "retrieve", "report",
    "cache show", "cache compact", "cache export", "cache verify",
)  # fmt: skip
"""Commands that begin anew when they are given again."""
OUT_OF_TIME = 75
"""As sysexits.h has it: not a failure, try again."""
app = typer.Typer(
    name="comix",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Unsupervised video domain adaptation on a feature cache: extract once, adapt in minutes.\n\n"
    "Add --debug to any command for a full traceback.",
    epilog="Start with `comix demo`, or on your own folders of class folders: "
    "`comix extract --source A --target B --out cache/ab`, then `comix adapt --from-cache cache/ab`.",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 well, 1 done but some videos failed, 2 an error of input,
    75 out of time, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        app(args=[word for word in arguments if word != "--debug"], prog_name="comix", obj=debug)
    except OutOfTime as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(OUT_OF_TIME)
    except ComixError as error:
        if debug:
            traceback.print_exc()
        Console(stderr=True, highlight=False, emoji=False).print(
            f"error: {error}", markup=False, soft_wrap=True, style="red"
        )
        sys.exit(2)
    except (MemoryError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {_plain_words(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        # Before typer listens for it, or after.
        print(_interrupted(arguments), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print(_interrupted(arguments), file=sys.stderr)
        raise


def _interrupted(arguments: Sequence[str]) -> str:
    resumes = not {*arguments[:1], " ".join(arguments[:2])} & set(NOTHING_KEPT)
    return "interrupted" + (": what is finished is kept; the same command goes on from there" if resumes else "")


def _plain_words(error: BaseException) -> str:
    """What the system refused, and where."""
    if not isinstance(error, OSError):
        return f"not enough memory ({error})"
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    return f"{where}{reason.lower()}\n  check that the folder exists, is a folder, can be written to and has room"


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


cli_extract.add_to(app)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing to do before a command."""


@app.command(epilog="Example: comix adapt --from-cache cache/ut --seeds 10 --iterations 2000")
@takes_adapt_options
def adapt(
    context: typer.Context,
    from_cache: Annotated[Path | None, typer.Option(help="A cache that `comix extract` made.")] = None,
    from_run: Annotated[
        Path | None,
        typer.Option(help="Begin with this run's head and norms, on a cache of its backbone's features."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this run as it was begun; no option that decides a result goes with it."),
    ] = None,
    preset: Preset = None,
    name: Annotated[str | None, typer.Option(help="The run's name. Default: after the cache and the recipe.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    bgm: Annotated[
        bool,
        typer.Option(
            "--bgm/--no-bgm",
            help="Background mixing; without it contrast is of speeds alone, and a teacher teaches on plain clips.",
        ),
    ] = True,
    tpl: Annotated[bool, typer.Option("--tpl/--no-tpl", help="Target pseudo-labels.")] = True,
    source_only: Annotated[bool, typer.Option("--source-only", help="Stop after the warm-start.")] = False,
    target_supervised: Annotated[
        bool, typer.Option("--target-supervised", help="The bound: train on the target's labels.")
    ] = False,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="All parts one by one, on one warm-start, and the bound.")
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help=r"Write RUN/tensorboard when the run is done (extra \[tensorboard])."),
    ] = False,
    device: Device = "auto",
    memory: MemoryOption = "auto",
    threads: Threads = None,
    max_minutes: MaxMinutes = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Stage two: warm-start a head on the source, adapt it to the target, measure.

    Target labels, where there are any, measure and never train or select. An interrupted run goes on when the
    same command is given again, or with --resume RUN.
    """
    from comix_fast.commands import adapt as command
    from comix_fast.commands import tensorboard as for_tensorboard

    reporter = Terminal(quiet)
    if tensorboard:
        for_tensorboard.require()
    if resume is not None:
        typed = typed_options(context)
        require_resumable(typed, ("device", "memory", "threads", "max_minutes", "quiet", "as_json", "tensorboard"))
        place = device if "device" in typed else None
        done, cache = command.resume(
            resume, threads=threads, device=place, memory=memory, reporter=reporter, max_minutes=max_minutes
        )
        if tensorboard:
            for_tensorboard.write(done, cache, reporter)
        print_answer(command.to_json(done), as_json, command.closing(done, cache))
        return
    if from_cache is None:
        raise ComixError("adapt needs a cache or a run to go on with", hint="give --from-cache CACHE, or --resume RUN")
    changes = options
    if from_run is not None:
        changes = command.begun_with(from_run, options, ablation=ablation, target_supervised=target_supervised)
    recipe = command.choose_recipe(
        preset,
        changes,
        bgm=bgm,
        tpl=tpl,
        source_only=source_only,
        target_supervised=target_supervised,
        ablation=ablation,
    )
    for remark in command.remarks(preset, options, recipe):
        reporter.warn(remark)
    done = command.run(
        recipe,
        from_cache,
        runs,
        name,
        ablation=ablation,
        threads=threads,
        device=device,
        memory=memory,
        reporter=reporter,
        from_run=from_run,
        max_minutes=max_minutes,
    )
    if tensorboard:
        for_tensorboard.write(done, from_cache, reporter)
    print_answer(command.to_json(done), as_json, command.closing(done, from_cache))


@app.command(
    epilog="Example: comix sweep --from-cache cache/ut --grid lambda_teacher=0.01,0.1 --grid lr=0.01,0.003 --seeds 3"
)
@takes_adapt_options
def sweep(
    from_cache: CacheFolder,
    grid: Annotated[
        list[str], typer.Option(help="NAME=VALUE,VALUE: an option of adapt and the values to try; may be repeated.")
    ],
    preset: Preset = None,
    name: Annotated[str | None, typer.Option(help="The sweep's name. Default: after the cache and the grid.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    threads: Threads = None,
    device: Device = "auto",
    memory: MemoryOption = "auto",
    max_minutes: MaxMinutes = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Adapt at every point of a grid, all heads in one loop; the point is chosen without labels.

    Every point is a run of its own below the sweep's folder. An interrupted sweep goes on when the same command is
    given again.
    """
    from comix_fast.commands import adapt as adapt_command
    from comix_fast.commands import sweep as command
    from comix_fast.stages.sweep import parse_grid

    recipe, reporter = adapt_command.choose_recipe(preset, options), Terminal(quiet)
    for remark in adapt_command.remarks(preset, {}, recipe):
        reporter.warn(remark)
    done = command.run(
        recipe,
        parse_grid(grid),
        from_cache,
        runs,
        name,
        threads=threads,
        device=device,
        memory=memory,
        reporter=reporter,
        max_minutes=max_minutes,
    )
    print_answer(command.to_json(done), as_json, command.closing(done, from_cache))
    if done.lost:
        raise typer.Exit(1)


@app.command(epilog="Example: comix compare --from-cache cache/ut --seeds 10 --methods source-only,comix,ours")
def compare(
    from_cache: CacheFolder,
    reverse: Annotated[bool, typer.Option("--reverse", help="Adapt from the cache's target to its source.")] = False,
    methods: Annotated[
        str | None, typer.Option(help="Names separated by commas; an unknown one lists them. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, trained together.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    warmstart_iterations: Annotated[
        int | None, typer.Option(min=1, help="Iterations on the source alone. Default: the published epochs.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Iterations of adaptation. Default: the published epochs.")
    ] = None,
    eval_every: Annotated[int | None, typer.Option(min=1, help="Iterations between evaluations.")] = None,
    name: Annotated[str | None, typer.Option(help="The comparison's name. Default: after the cache.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    threads: Threads = None,
    device: Device = "auto",
    memory: MemoryOption = "auto",
    max_minutes: MaxMinutes = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare methods on one cache: accuracies with intervals, gains over source-only, ranks.

    Writes the table as JSON, CSV, Markdown and LaTeX, and what each label-free score would have chosen. What is
    finished is not run again; more methods and more seeds are added to it, the tables are of those asked for last.
    """
    from comix_fast.commands import compare as command
    from comix_fast.stages.compared import Schedule, parse_methods

    done = command.run(
        parse_methods(methods),
        Schedule(seeds, seed, reverse, warmstart_iterations, iterations, eval_every),
        from_cache,
        runs,
        name,
        threads=threads,
        device=device,
        memory=memory,
        reporter=Terminal(quiet),
        max_minutes=max_minutes,
    )
    print_answer(command.to_json(done), as_json, command.closing(done))
    if done.lost:
        raise typer.Exit(1)


@app.command(epilog="Examples: comix weights · comix weights --convert rgb_imagenet.pt --out rgb_imagenet.safetensors")
def weights(
    verify: Annotated[bool, typer.Option("--verify", help="Read and hash every file that is here.")] = False,
    convert: Annotated[Path | None, typer.Option(help="A .pt, .pth or .ckpt file to convert to safetensors.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --convert: the .safetensors file to write.")] = None,
    backbone: BackboneName = "i3d",
    as_json: Json = False,
) -> None:
    """List the weights that have a name, where they are and how to get them; verify or convert."""
    from comix_fast.commands import weights as command

    if convert is not None:
        if out is None:
            raise ComixError("--convert needs --out FILE.safetensors")
        value = command.convert(convert, out, backbone)
        print_answer(value, as_json, Text(f"wrote {out}, sha256 of its tensors {value['sha256']}"))
        return
    known, verdicts = command.known(verify)
    print_answer(command.to_json(known, verdicts), as_json, command.table(known, verdicts))
    if "differs" in verdicts.values():
        raise typer.Exit(1)


@app.command(epilog="Example: comix demo --out demo")
def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's videos, cache and run are written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Decides the videos and the run.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Heads trained, side by side.")] = 5,
    weights: Weights = "kinetics400",
    precision: Precision = "auto",
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Two small domains of drawn people, the whole way to a gallery and a report. No data needed."""
    from comix_fast.commands import demo as command

    engine = command.engine(weights, precision, device, threads)
    done = command.run(out, seed, seeds, engine, Terminal(quiet))
    print_answer(command.to_json(done), as_json, command.closing(done))


for _commands in (cli_cache, cli_models, cli_retrieve, cli_report, cli_predict, cli_export, cli_import):
    _commands.add_to(app)

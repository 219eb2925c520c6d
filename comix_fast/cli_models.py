"""`comix finetune` and `comix train`; comix_fast.cli adds what is here to its own commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from comix_fast.console import Terminal, print_answer
from comix_fast.errors import ComixError
from comix_fast.options import (
    LIMITS,
    BackboneName,
    DecoderName,
    Device,
    Json,
    MaxMinutes,
    Quiet,
    Threads,
    Weights,
    adapt_options,
    limit_options,
    require_resumable,
    take_limits,
    takes_options,
    typed_options,
)
from comix_fast.presets import END_TO_END, train_preset

OF_ADAPTATION = (
    "method",
    "iterations",
    "lambda_bgm",
    "lambda_tpl",
    "lambda_teacher",
    "lambda_align",
    "teacher_temperature",
    "teacher_momentum",
    "prior_weight",
    "pseudo_threshold",
    "temperature",
    "select_by",
)
"""Fields of the recipe that a warm-start has no use for."""

OF_MACHINE = (
    *("device", "devices", "threads", "decoder", "graphs", "checkpoint_activations", "save_every", "keep"),
    *LIMITS,
)
"""Options that go with --resume too; without them they are as the run was begun."""
OF_SESSION = ("max_minutes", "quiet", "as_json")

FROM_FRAMES = {
    "statistics": "Of linear and mlp heads, of mean, max, std, change, peak-change, joined by +; of drawn clips.",
    "eval_every": "Iterations between evaluations, which extract the target's test clips.",
    "reverse": "Adapt from the target to the source.",
    "seeds": "How many seeds, one after another.",
}
"""Help that differs from adapt's."""

DatasetFile = Annotated[Path | None, typer.Argument(help="The dataset's TOML file.")]
Source = Annotated[Path | None, typer.Option(help="Folder of class folders: the labelled source.")]
Target = Annotated[Path | None, typer.Option(help="Folder of class folders, or of videos without labels.")]
TrainPreset = Annotated[
    str | None,
    typer.Option(help="A published schedule and its λs: ucf-hmdb, jester, epic. With --base-dir its layout too."),
]
BaseDir = Annotated[Path | None, typer.Option(help="With --preset: the folder of the published layout.")]
Splits = Annotated[Path | None, typer.Option(help="With --preset: the folder of its split files.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Leave out listed videos that have no file.")]
FromRun = Annotated[
    Path | None,
    typer.Option(help="Begin with this run's head and backbone; train then adapts at once."),
]
Resume = Annotated[
    Path | None, typer.Option(help="Go on with this run as it was begun; no option that decides a result goes with it.")
]
Name = Annotated[str | None, typer.Option(help="The run's name. Default: after the dataset and what was asked for.")]
Runs = Annotated[Path, typer.Option(help="The folder of runs.")]
BackbonePrecision = Annotated[
    Literal["auto", "bf16", "fp32"],
    typer.Option(help="Of the backbone. auto: bf16 where the hardware has it."),
]
BackboneLr = Annotated[float, typer.Option(help="Learning rate of the backbone at the start.")]
BatchNormOption = Annotated[
    Literal["train", "frozen"],
    typer.Option(help="train: by the clips at hand, as published; frozen: by the statistics of the weights."),
]
TrainFrom = Annotated[
    str | None, typer.Option(help="First part of the backbone that learns, such as Mixed_5b. Default: all of it.")
]
Clips = Annotated[int, typer.Option(help="Clips drawn of each video: 16 as published, fewer where time is short.")]
MicroBatch = Annotated[
    int | None,
    typer.Option(help="Videos that go through the backbone together: less memory. Default: all of a stream."),
]
GraphsOption = Annotated[
    Literal["recompute", "keep"],
    typer.Option(help="recompute: memory of one micro-batch, a third more time; keep: that of every clip."),
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpoint-activations", help="Recompute the backbone's maps part by part: least memory.")
]
Devices = Annotated[int, typer.Option(min=1, help="Processes that share each iteration, a GPU each on CUDA.")]
SaveEvery = Annotated[int, typer.Option(min=1, help="Iterations between checkpoints.")]
Keep = Annotated[int, typer.Option(min=1, help="Checkpoints kept.")]


def add_to(app: typer.Typer) -> None:
    """Adds both commands."""
    app.command(epilog="Example: comix finetune ut.toml --clips 4 --train-from Mixed_5b")(
        takes_options(finetune, adapt_options(END_TO_END, ("precision", *OF_ADAPTATION), FROM_FRAMES) + limit_options())
    )
    app.command(epilog="Example: comix train --preset ucf-hmdb --base-dir data/ucf_hmdb --splits video_splits")(
        takes_options(train, adapt_options(END_TO_END, ("precision",), FROM_FRAMES) + limit_options())
    )


def finetune(
    context: typer.Context,
    dataset: DatasetFile = None,
    source: Source = None,
    target: Target = None,
    preset: TrainPreset = None,
    base_dir: BaseDir = None,
    splits: Splits = None,
    allow_missing: AllowMissing = False,
    from_run: FromRun = None,
    resume: Resume = None,
    name: Name = None,
    runs: Runs = Path("runs"),
    backbone: BackboneName = "i3d",
    weights: Weights = "kinetics400",
    precision: BackbonePrecision = "auto",
    backbone_lr: BackboneLr = 0.001,
    batch_norm: BatchNormOption = "train",
    train_from: TrainFrom = None,
    clips: Clips = 16,
    micro_batch: MicroBatch = None,
    graphs: GraphsOption = "recompute",
    checkpoint_activations: Checkpointing = False,
    device: Device = "auto",
    devices: Devices = 1,
    threads: Threads = None,
    decoder: DecoderName = "auto",
    save_every: SaveEvery = 50,
    keep: Keep = 2,
    max_minutes: MaxMinutes = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train backbone and head on the labelled source: the published warm-start, for `comix extract --weights RUN`.

    An interrupted run goes on when the same command is given again, or with --resume RUN.
    """
    from comix_fast.commands import asked
    from comix_fast.commands import train as command

    where = asked.Where(dataset, source, target, preset, base_dir, splits, False, allow_missing)
    chosen = asked.Backbone(
        backbone, weights, precision, backbone_lr, batch_norm, False, train_from, clips, None, micro_batch
    )
    limits = take_limits(options)
    machine = command.Machine(
        device, devices, threads, decoder, graphs, checkpoint_activations, save_every, keep, max_minutes, limits
    )
    recipe = train_preset(preset).with_changes({"method": "source-only"})
    _run(context, where, recipe, chosen, machine, from_run, resume, name, runs, options, quiet, as_json)


def train(
    context: typer.Context,
    dataset: DatasetFile = None,
    source: Source = None,
    target: Target = None,
    preset: TrainPreset = None,
    base_dir: BaseDir = None,
    splits: Splits = None,
    allow_missing: AllowMissing = False,
    from_run: FromRun = None,
    resume: Resume = None,
    name: Name = None,
    runs: Runs = Path("runs"),
    bgm: Annotated[bool, typer.Option("--bgm/--no-bgm", help="Background mixing.")] = True,
    tpl: Annotated[bool, typer.Option("--tpl/--no-tpl", help="Target pseudo-labels.")] = True,
    backbone: BackboneName = "i3d",
    weights: Weights = "kinetics400",
    precision: BackbonePrecision = "auto",
    backbone_lr: BackboneLr = 0.001,
    batch_norm: BatchNormOption = "train",
    freeze_backbone: Annotated[
        bool,
        typer.Option("--freeze-backbone", help="Train the head alone, as adapt does a graph head."),
    ] = False,
    train_from: TrainFrom = None,
    clips: Clips = 16,
    mixes: Annotated[
        int | None,
        typer.Option(help="Draws of background mixing per video, as a cache holds. Default: a fresh one each time."),
    ] = None,
    micro_batch: MicroBatch = None,
    graphs: GraphsOption = "recompute",
    checkpoint_activations: Checkpointing = False,
    device: Device = "auto",
    devices: Devices = 1,
    threads: Threads = None,
    decoder: DecoderName = "auto",
    save_every: SaveEvery = 50,
    keep: Keep = 2,
    max_minutes: MaxMinutes = None,
    quiet: Quiet = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Train backbone and head end to end: warm-start on the source, then CoMix on both domains, all from frames.

    Takes --method and the λs of adapt. An interrupted run goes on when the same command is given again, or with
    --resume RUN.
    """
    from comix_fast.commands import asked
    from comix_fast.commands import train as command

    where = asked.Where(dataset, source, target, preset, base_dir, splits, False, allow_missing)
    chosen = asked.Backbone(
        backbone, weights, precision, backbone_lr, batch_norm, freeze_backbone, train_from, clips, mixes, micro_batch
    )
    limits = take_limits(options)
    machine = command.Machine(
        device, devices, threads, decoder, graphs, checkpoint_activations, save_every, keep, max_minutes, limits
    )
    if not tpl and options.get("lambda_tpl"):
        raise ComixError("--no-tpl and --lambda-tpl contradict each other")
    changes = options | ({} if bgm else {"mixing": False}) | ({} if tpl else {"lambda_tpl": 0.0})
    recipe = train_preset(preset)
    _run(context, where, recipe, chosen, machine, from_run, resume, name, runs, changes, quiet, as_json)


def _run(
    context: typer.Context,
    where: Any,
    recipe: Any,
    backbone: Any,
    machine: Any,
    from_run: Path | None,
    resume: Path | None,
    name: str | None,
    runs: Path,
    options: dict[str, Any],
    quiet: bool,
    as_json: bool,
) -> None:
    """Both commands: as typed, or as run.json has it."""
    from comix_fast.commands import asked
    from comix_fast.commands import train as command
    from comix_fast.stages.runs import RunFolder

    kind, typed, reporter = context.command.name or "train", typed_options(context), Terminal(quiet)
    if resume is not None:
        require_resumable(typed, (*OF_MACHINE, *OF_SESSION))
        begun, root = asked.Asked.of_run(RunFolder(resume)), resume
        machine = machine.as_begun(RunFolder(resume), typed)
    else:
        begun = asked.new(where, recipe, backbone, from_run, options, typed)
        root = asked.root_of(begun, kind, runs, name)
        for remark in asked.remarks(begun, typed):
            reporter.warn(remark)
    done = command.run(begun, root, machine, reporter, kind)
    if done is not None:
        print_answer(command.to_json(done), as_json, command.closing(done))

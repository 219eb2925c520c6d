"""Options that several commands share, and those of `comix adapt`, made from the recipe's own fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from comix_fast.config import AdaptRecipe
from comix_fast.errors import ComixError
from comix_fast.presets import RECOMMENDED

CacheFolder = Annotated[Path, typer.Option(help="A cache that `comix extract` made.")]
Videos = Annotated[
    Path | None,
    typer.Option(
        help="Where the videos are: a dataset's TOML file, or the folder their ids begin in. "
        "Default: where extract found them."
    ),
]
BackboneName = Annotated[str, typer.Option(help="i3d, r3d_18, mc3_18, r2plus1d_18 or s3d.")]
Weights = Annotated[
    str,
    typer.Option(
        help="kinetics400, random, a .safetensors, .pt or .pth file, or the folder of a run that trained its backbone."
    ),
]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"],
    typer.Option(help="auto: bf16 where the hardware has it and it agrees with fp32."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DecoderName = Annotated[
    Literal["auto", "pyav", "torchcodec"],
    typer.Option(help="auto: torchcodec where it gives PyAV's very frames."),
]
BatchClips = Annotated[int, typer.Option(min=1, help="Clips per batch; part of the recipe.")]
Compiled = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the backbone; part of the recipe. Default: where there are clips enough to repay it.",
        show_default=False,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")]
MemoryOption = Annotated[
    Literal["auto", "load", "map"],
    typer.Option(
        help="Features in memory, or mapped from their files. auto: in memory if they take half of it at most."
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(help="recommended, or a published form: ucf-hmdb-published, jester-published, epic-published."),
]
MaxMinutes = Annotated[
    float | None, typer.Option(min=0, help="Stop after so many minutes, saved, with exit code 75: for queues.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and warnings only.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]

_HELP = {
    "method": "What adaptation minimises.",
    "head": "linear or mlp, on statistics over time of each video's clips, or the published graph over clips.",
    "statistics": "Of linear and mlp heads, of mean, max, std, change and peak-change, joined by +.",
    "warmstart_iterations": "Iterations on the source alone.",
    "iterations": "Iterations of adaptation.",
    "batch_size": "Videos per domain and iteration.",
    "lr": "Learning rate at the start; a cosine takes it to zero.",
    "momentum": "SGD momentum.",
    "weight_decay": "SGD weight decay.",
    "lambda_bgm": "Weight of temporal contrast with background mixing; 0 leaves it out.",
    "lambda_tpl": "Weight of target pseudo-labels; 0 leaves them out.",
    "lambda_teacher": "Weight of what an averaged head teaches about the target; 0 leaves it out.",
    "lambda_align": "Weight of the own term of methods other than comix.",
    "teacher_temperature": "Divides the teacher's logits: below 1 its labels are surer.",
    "teacher_momentum": "Of the teacher's average, per iteration.",
    "prior_weight": "Keep pseudo-labels to the warm-started head's class shares (0), or to the source's (1).",
    "pseudo_threshold": "Probability from which a pseudo-label is used.",
    "temperature": "Of the contrastive losses.",
    "label_smoothing": "Of the source's cross-entropy.",
    "hidden_dim": "Width of the graph and mlp heads.",
    "dropout": "In the graph and mlp heads, while training.",
    "feature_norm": "Standardise features by the source's statistics, by each domain's own, or not.",
    "precision": "Of the graph head's matrix products; auto: bf16 where the hardware has it.",
    "select_by": "The label-free score that chooses a step.",
    "eval_every": "Iterations between evaluations and checkpoints.",
    "reverse": "Adapt from the cache's target to its source.",
    "seed": "The first seed.",
    "seeds": "How many seeds, trained together.",
}


LIMITS: Mapping[str, tuple[type, str, str]] = {
    "max_pixels": (int, "Refuse videos with larger pictures, width × height; 0: any", "67,108,864, 8192 × 8192"),
    "max_frames": (int, "Refuse videos of more frames; 0: any", "10,000,000"),
    "max_seconds": (float, "Refuse videos that last longer; 0: any", "172,800, two days"),
}


_SETTLED = {
    "warmstart_iterations": "as many epochs as published",
    "iterations": "as many epochs as published",
    "eval_every": "a fortieth of them",
}


def adapt_options(
    defaults: AdaptRecipe = RECOMMENDED, without: Collection[str] = (), help_of: Mapping[str, str] | None = None
) -> list[inspect.Parameter]:
    """One option per field of AdaptRecipe that is set by a value; None stands for the preset's.

    defaults: what help texts give; without: fields that are not to be options; help_of: texts instead of the usual.
    """
    found = []
    resolved = inspect.get_annotations(AdaptRecipe, eval_str=True)
    for field in fields(AdaptRecipe):
        if field.name not in _HELP or field.name in without:
            continue
        default = getattr(defaults, field.name)
        said = (help_of or {}).get(field.name, _HELP[field.name])
        text = f"{said} [default: {_SETTLED[field.name] if default is None else default}]"
        kind = resolved[field.name]
        flag = (f"--{field.name}",) if kind is bool else ()
        option = typer.Option(*flag, help=text.replace("[", r"\["), show_default=False)
        annotation: Any = cast(Any, Annotated)[kind | None, option]
        found.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return found


def limit_options() -> list[inspect.Parameter]:
    """What a video may have at most: --max-pixels, --max-frames, --max-seconds. None stands for the default."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=cast(Any, Annotated)[
                kind | None, typer.Option(min=0, help=rf"{text}. \[default: {usual}]", show_default=False)
            ],
        )
        for name, (kind, text, usual) in LIMITS.items()
    ]


def take_limits(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of limit_options out of `options`: those given, by name, as Limits takes them."""
    taken = {name: options.pop(name, None) for name in LIMITS}
    return {name: value for name, value in taken.items() if value is not None}


def typed_options(context: typer.Context) -> dict[str, str]:
    """What was given on the command line: the names of parameters, and how they are spelt there."""
    found = {}
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if one.name and source is not None and source.name == "COMMANDLINE":
            spelt = [*one.opts, *one.secondary_opts]
            found[one.name] = "/".join(spelt) if spelt[0].startswith("-") else one.name.upper()
    return found


def require_resumable(typed: Mapping[str, str], free: Collection[str]) -> None:
    """Raises ComixError if something that decides a result goes with --resume. free: names of what does not."""
    if more := [spelt for name, spelt in typed.items() if name not in ("resume", *free)]:
        raise ComixError(f"--resume takes the run as it was begun, so it goes without {', '.join(more)}")


def takes_adapt_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command that ends in **options one option per field of the recipe, so that each is named once."""
    return takes_options(command, adapt_options())


def takes_options(command: Callable[..., None], options: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """Gives a command that ends in **options these options instead."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    everything: list[inspect.Parameter] = [*named, *options]
    command.__signature__ = signature.replace(parameters=everything)  # type: ignore[attr-defined]
    annotations: dict[str, Any] = {p.name: p.annotation for p in everything}
    command.__annotations__ = {**annotations, "return": None}
    return command

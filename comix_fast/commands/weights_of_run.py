"""The backbone that a run trained, where a command is given the run's folder as its weights."""

from __future__ import annotations

import re
from pathlib import Path

from comix_fast.backbones.weights import KINETICS, RANDOM
from comix_fast.errors import RunError
from comix_fast.stages.runs import RUN, RunFolder, SeedFolder

DEFAULT_BACKBONE = "i3d"
"""What --backbone is where it isn't typed."""

_SEED = re.compile(r"seed-(0|[1-9][0-9]*)")


def resolve_weights(weights: str) -> str:
    """What load_backbone takes for --weights as typed: the file of a run's trained backbone, or `weights` as it is.

    weights: a run folder stands for its first seed, RUN/seed-N for that one; of a seed it is the backbone beside the
    head to use (RunFolder.final). Raises RunError for a folder that is no run, for a seed that is not there or not
    finished, and for a run whose backbone was frozen; the message says what to give instead.
    """
    found = _named_run(weights)
    if found is None:
        return weights
    run, seed = found
    head = run.final(int(seed.root.name.removeprefix("seed-")))
    if not seed.backbone_path(head).exists():
        raise _frozen(run)
    return str(seed.backbone_path(head))


def resolve_backbone(backbone: str, weights: str) -> str:
    """The architecture to load: the run's where `weights` names one, else `backbone` as typed.

    Raises RunError where another than the default was typed and the run has another.
    """
    found = _named_run(weights)
    if found is None:
        return backbone
    trained = str(found[0].features["backbone"]["name"])
    if backbone not in (DEFAULT_BACKBONE, trained):
        raise RunError(f"{found[0].root} trained {trained}, not {backbone}", hint="leave out --backbone")
    return trained


def _named_run(weights: str) -> tuple[RunFolder, SeedFolder] | None:
    """The run, and the seed of it, there or not, that weights as typed name; None where they are no folder."""
    path = Path(weights)
    if weights in (KINETICS, RANDOM):
        return None
    if _SEED.fullmatch(path.name) and (path.parent / RUN).is_file():
        return RunFolder(path.parent), SeedFolder(path)
    if not path.is_dir():
        return None
    run = RunFolder(path)
    return run, run.seed(run.recipe.seed)


def _frozen(run: RunFolder) -> RunError:
    backbone = run.features["backbone"]
    name, weights = backbone["name"], backbone["weights"]
    if weights in (KINETICS, RANDOM):
        hint = f"give --backbone {name} --weights {weights}"
    else:
        digest = str(backbone["weights_sha256"])[:12]
        hint = f"give the file that its features were extracted with; the sha256 of its tensors starts with {digest}"
    return RunError(f"{run.root} trained no backbone: it took the features of {name}, frozen", hint=hint)

"""Checkpoints as the published CoMix code writes them: read without running anything, under plain names.

It saves the state dicts of two networks wrapped in DataParallel ("module." before every name), head and backbone:
  Graph-SourceOnly-Model-Best.pth and I3D-SourceOnly-Online-Model-Best.pth      the warm-start
  Graph-CoMix-Model-Best.pth and I3D-CoMix-Model-Best.pth                       after adaptation
  the same four with -STEP before .pth (then without -Online), and Current- and Best-Checkpoint.pt, which hold both
  under "graph" and "i3d", beside the optimiser.
The head's names are graph.gc1.weight …; the I3D's are those of rgb_imagenet.pt, whose 400 logits it keeps unused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from comix_fast.backbones.state import State, file_sha256, load_torch, read_state
from comix_fast.errors import WeightsError, first_few
from comix_fast.heads import TemporalGraph

Part = Literal["graph", "i3d"]

_NESTED_UNDER = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "graph.", "i3d.")
_FIRST, _LAST = "gc1.weight", "gc3.weight"
_FILE_NAME = re.compile(r"(?:Graph|I3D)-(?P<phase>[A-Za-z]+)(?:-Online)?-(?P<rest>.+)")


@dataclass(frozen=True)
class Published:
    """One published model, no prefix before its names.

    head: float32; backbone: as in its file, None where there is none; files: where each came from.
    """

    head: State
    backbone: State | None
    files: Mapping[Part, Path]

    def fingerprints(self) -> dict[str, dict[str, str]]:
        """The name of each file and the sha256 of its bytes, read anew."""
        return {part: {"file": path.name, "sha256": file_sha256(path)} for part, path in self.files.items()}

    @property
    def kept_best(self) -> bool:
        """Whether a file is named as the step of best accuracy; the published code measures that on the target."""
        return any("best" in path.name.lower() for path in self.files.values())

    @property
    def source_only(self) -> bool:
        """Whether the head's file is named as the warm-start."""
        return "sourceonly" in self.files["graph"].name.lower()

    @property
    def doubt(self) -> str:
        """Where head and backbone are named as of different steps, a sentence that says so; else ""."""
        named = [_FILE_NAME.fullmatch(path.name) for path in self.files.values()]
        steps = {(match["phase"], match["rest"]) for match in named if match}
        if len(named) < 2 or len(steps) < 2 or not all(named):
            return ""
        graph, i3d = self.files["graph"].name, self.files["i3d"].name
        return f"{graph} and {i3d} are named as of different steps; a head fits the backbone that was trained with it"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Features of a clip, hidden width and classes of the head."""
        (in_dim, hidden), n_classes = self.head[_FIRST].shape, self.head[_LAST].shape[1]
        return in_dim, hidden, n_classes


def read_published(graph: Path, i3d: Path | None = None) -> Published:
    """A published model from its files.

    graph: the head's .pth, .pt or .safetensors; i3d: the backbone's. Without one the backbone is taken from `graph` if
    that holds both. State dicts are found at the top of a file and under the usual names, with or without prefixes.
    Raises WeightsError for files that are absent, damaged or hold more than tensors and plain values (nothing in them
    is run), that hold no such network, and for weights that are not finite.
    """
    content = _content(graph)
    head = _head(_part(content, "graph", graph), graph)
    if i3d is not None:
        backbone: State | None = _backbone(_part(_content(i3d), "i3d", i3d), i3d)
    elif isinstance(content.get("i3d"), Mapping):
        i3d, backbone = graph, _backbone(_part(content, "i3d", graph), graph)
    else:
        backbone = None
    files: dict[Part, Path] = {"graph": graph}
    return Published(head, backbone, files if i3d is None else {**files, "i3d": i3d})


def _content(path: Path) -> Mapping[str, Any]:
    """The mapping at the top of a file."""
    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}", hint="give the file that the published code saved")
    if path.suffix == ".safetensors":
        return read_state(path)
    content = load_torch(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds no state dict but a {type(content).__name__}", hint=_way_out("graph"))
    return content


def _part(content: Mapping[str, Any], part: Part, path: Path) -> State:
    """The state dict of one of the two networks, without prefixes."""
    for name in (part, *_NESTED_UNDER):
        if isinstance(content.get(name), Mapping):
            return _part(content[name], part, path)
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(
            f"{path} holds no state dict", [f"found: {first_few(map(str, content)) or 'nothing'}"], hint=_way_out(part)
        )
    state = {str(name): value for name, value in content.items()}
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _head(state: State, path: Path) -> State:
    """The head's weights in float32, tried in a head of their own sizes."""
    first, last = state.get(_FIRST), state.get(_LAST)
    if first is None or last is None or first.ndim != 2 or last.ndim != 2:
        raise WeightsError(
            f"{path} holds no head of CoMix: its three graph convolutions gc1, gc2 and gc3 are not all in it",
            [f"found: {first_few(state)}"],
            hint=_way_out("graph"),
        )
    _refuse_odd_numbers(state, path)
    state = {name: value.to(torch.float32, copy=True) for name, value in state.items()}
    try:
        TemporalGraph(first.shape[0], first.shape[1], last.shape[1]).load_published(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.message}", error.details, _way_out("graph")) from error
    return state


def _backbone(state: State, path: Path) -> State:
    if _FIRST in state:
        raise WeightsError(f"{path} holds a head, not a backbone", hint=_way_out("i3d"))
    _refuse_odd_numbers(state, path)
    return state


def _refuse_odd_numbers(state: State, path: Path) -> None:
    odd = list(_odd(state))
    if odd:
        raise WeightsError(
            f"{path} holds weights that are no finite numbers: {first_few(odd)}",
            hint="its training diverged or the file is damaged; give an earlier one",
        )


def _odd(state: State) -> Iterator[str]:
    for name, value in state.items():
        counts = name.endswith("num_batches_tracked")
        if not counts and not (value.is_floating_point() and bool(value.isfinite().all())):
            yield name


def _way_out(part: Part) -> str:
    wanted = {"graph": "--graph takes the head, Graph-….pth", "i3d": "--i3d takes the backbone, I3D-….pth"}[part]
    return f"{wanted}, or Current-Checkpoint.pt, which holds both"

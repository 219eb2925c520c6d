"""State dicts: read from files of several kinds, brought to one form, named by one digest, fitted to a network."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from comix_fast.backbones.network import VideoNetwork
from comix_fast.errors import WeightsError, first_few
from comix_fast.files import whole_file
from comix_fast.printable import printable

State = dict[str, Tensor]

SUFFIXES = (".safetensors", ".pt", ".pth")
_NESTED_UNDER = ("state_dict", "model_state_dict", "model")
_COUNTER = "num_batches_tracked"  # batch norm's step count: no part of what the network computes
_RANDOM_SEED = 0
_NAMED = re.compile(r"GLOBAL (\S+)")
_LONGEST_REASON = 200
_DEEPEST = 8

# What torch.load raises where the bytes make no sense to it.
_DAMAGE = (
    *(RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError),
    *(AttributeError, ArithmeticError, AssertionError, MemoryError, struct.error, zipfile.BadZipFile),
)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """sha256 over the sorted tensors' names, dtypes, shapes and bytes, as hexadecimal.

    Batch norm's step counts are left out, as some checkpoints lack them. Equal for one network's .pt and
    .safetensors.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith(_COUNTER):
            continue
        tensor = state[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(json.dumps([name, dtype, list(tensor.shape)]).encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(path: Path) -> State:
    """The state dict in a .safetensors, .pt or .pth file, on the CPU, without a "module." prefix.

    A .pt is read with weights_only=True: nothing in it is run. It may be the state dict itself or hold one under
    "state_dict", "model_state_dict" or "model". Raises WeightsError for anything else.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}", hint="check the path given to --weights")
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"{path} is no weights file that can be read here", hint=f"expected one of {', '.join(SUFFIXES)}"
        )
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _without_prefix(state, "module.")


def _read_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no whole safetensors file: {error}") from error


def _read_torch(path: Path) -> State:
    return _unnested(load_torch(path), path)


def load_torch(path: Path) -> Any:
    """What a .pt or .pth file holds, on the CPU: tensors and plain values, nothing of it run.

    Raises WeightsError for anything else, naming the first thing that is no such value, and for tensors that are more
    than their file: views of a few numbers as millions, sparse ones, ones without any memory.
    """
    try:
        # Torch warns of sparse tensors as it reads them; they are refused below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        named = _NAMED.search(str(error))
        raise WeightsError(
            f"{path} holds more than weights, so it was not read: reading it would run code",
            [f"it holds {printable(named[1], _LONGEST_REASON)}"] if named else [_first_line(error)],
            hint="where its own code is installed and trusted, save its state_dict() alone, as .pt or .safetensors",
        ) from error
    except _DAMAGE as error:
        raise WeightsError(f"{path} is no whole PyTorch file: {_first_line(error) or type(error).__name__}") from error
    odd = list(itertools.islice(_odd_tensors(content), 1))
    if odd:
        raise WeightsError(
            f"{path} holds tensors that are not stored in it whole: {printable(odd[0], _LONGEST_REASON)}",
            hint="save the state_dict() of a plain network, with tensors that have memory of their own",
        )
    return content


def _odd_tensors(content: Any, name: str = "it", depth: int = 0) -> Iterator[str]:
    """Names of tensors, at any depth that a state dict may have, that have not all their numbers in the file."""
    if isinstance(content, Tensor):
        if not _is_whole(content):
            yield name
    elif isinstance(content, Mapping) and depth < _DEEPEST:
        for key, value in content.items():
            yield from _odd_tensors(value, str(key), depth + 1)


def _is_whole(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _first_line(error: Exception) -> str:
    return printable(str(error).strip().split("\n", 1)[0], _LONGEST_REASON)


def _unnested(content: Any, path: Path) -> State:
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content[name] for name in _NESTED_UNDER if name in content]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and candidate:
            tensors = {name: value for name, value in candidate.items() if isinstance(value, Tensor)}
            if len(tensors) == len(candidate) and all(isinstance(name, str) for name in tensors):
                return tensors
    raise WeightsError(
        f"{path} holds no state dict",
        details=[f"looked at its top and under {', '.join(_NESTED_UNDER)}"],
        hint="save the network's state_dict()",
    )


def _without_prefix(state: State, prefix: str) -> State:
    if state and all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def write_state(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all, with the metadata in its header."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with whole_file(path) as partial:
        save_file(contiguous, partial, metadata={"format": "pt", **metadata})


@dataclass(frozen=True)
class Fitted:
    """A state dict that fits a network: float32, no step counts; the classifier's tensors only if they fit."""

    state: State
    has_classifier: bool


def fit_state(network: VideoNetwork, state: Mapping[str, Tensor], source: str) -> Fitted:
    """What of a state dict the network takes.

    source: the file or name, for the error. A classifier that is absent or of another size is left out.
    Raises WeightsError, which counts and names them, if other keys are missing, unexpected or of another shape.
    """
    prefix = f"{network.classifier_name}."
    expected = {name: tensor.shape for name, tensor in network.state_dict().items() if _counts(name)}
    given = {name: tensor for name, tensor in state.items() if _counts(name)}
    classifier = {name for name in expected if name.startswith(prefix)}
    has_classifier = all(name in given and given[name].shape == expected[name] for name in classifier)
    if not has_classifier:
        expected = {name: shape for name, shape in expected.items() if name not in classifier}
        given = {name: tensor for name, tensor in given.items() if not name.startswith(prefix)}
    _refuse_misfits(expected, given, source)
    return Fitted({name: given[name].to(torch.float32, copy=True) for name in expected}, has_classifier)


def _counts(name: str) -> bool:
    return not name.endswith(_COUNTER)


def _refuse_misfits(expected: Mapping[str, torch.Size], given: Mapping[str, Tensor], source: str) -> None:
    common = [name for name in expected if name in given]
    misshapen = [
        f"{name} {list(given[name].shape)}, expected {list(expected[name])}"
        for name in common
        if given[name].shape != expected[name]
    ]
    not_float = [name for name in common if not given[name].is_floating_point()]
    findings = {
        "missing": [name for name in expected if name not in given],
        "unexpected": [name for name in given if name not in expected],
        "of another shape": misshapen,
        "not floating point": not_float,
    }
    details = [f"{len(names):,} {kind}: {first_few(names)}" for kind, names in findings.items() if names]
    if details:
        raise WeightsError(
            f"{source} does not fit the network: {len(common):,} of {len(expected):,} tensors found",
            details=details,
            hint="give the weights of this very network, or choose another --backbone",
        )


def fill(network: VideoNetwork, fitted: Fitted) -> None:
    """Put a fitted state into a network built on the meta device. Without a classifier it loses its own."""
    if not fitted.has_classifier:
        setattr(network, network.classifier_name, torch.nn.Identity())
    counts = [name for name in network.state_dict() if not _counts(name)]
    state = fitted.state | {name: torch.zeros((), dtype=torch.long) for name in counts}
    network.load_state_dict(state, assign=True)


def random_state(network: VideoNetwork) -> State:
    """Weights from a fixed seed, of a scale that keeps activations alive (He et al. 2015): for tests and trials."""
    generator = torch.Generator().manual_seed(_RANDOM_SEED)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items() if _counts(name)}
    return {name: _random_tensor(name, shapes[name], generator) for name in sorted(shapes)}


def _random_tensor(name: str, shape: Iterable[int], generator: torch.Generator) -> Tensor:
    shape = tuple(shape)
    if len(shape) > 1:
        return torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
    return torch.ones(shape) if name.endswith(("weight", "running_var")) else torch.zeros(shape)

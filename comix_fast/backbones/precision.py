"""Which number format a backbone computes in, and whether a lower one can be trusted here."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from comix_fast.backbones.network import VideoNetwork
from comix_fast.errors import WeightsError

Precision = Literal["fp32", "bf16"]
Requested = Literal["fp32", "bf16", "auto"]

MIN_COSINE = 0.999
"""A clip's bf16 and fp32 features must be at least this close in direction."""

_CPU_BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
_CHECK_SEED = 20211206
_CHECK_CLIPS = 2
_CHECK_FRAMES = 8


@dataclass(frozen=True)
class Prepared:
    """A network ready for inference and the precision it computes in.

    note: why that one, or what the check found against it; "" where there is nothing to say.
    """

    network: VideoNetwork
    precision: Precision
    note: str


def has_bf16_units(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers in hardware, rather than through float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported() and torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        # Where torch is too old to say what the processor has, it counts as having none.
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(bool(capabilities.get(unit)) for unit in _CPU_BF16_UNITS)
    return False


def prepare(
    network: VideoNetwork, requested: str, device: torch.device, input_size: int, first: Tensor | None = None
) -> Prepared:
    """Fold the network, in place, and settle its precision on the device.

    requested: "fp32", "bf16" (as asked, with the check's outcome noted) or "auto": bf16 where the device has
        units for it and the check clips' features agree with fp32 (cosine >= 0.999), else fp32 and why.
    first: clips to check beside the fixed ones, [n, 3, T, S, S] float32 on the device, normalised as the network
        takes them; for "fp32" they are not looked at.
    Raises WeightsError for any other word.
    """
    if requested not in get_args(Requested):
        raise WeightsError(f"no precision named {requested!r}", hint="choose one of fp32, bf16, auto")
    network = network.to(device)
    network.fold()
    network = network.to(memory_format=torch.channels_last_3d)
    if requested == "fp32":
        return Prepared(network, "fp32", "")
    if requested == "auto" and not has_bf16_units(device):
        return Prepared(network, "fp32", f"fp32, as {device.type} has no bfloat16 units here")
    lower = copy.deepcopy(network)
    lower.to_bf16()
    finding = _disagreement(network, lower, check_clips(input_size, device), "features")
    if first is not None and not finding:
        finding = _disagreement(network, lower, first, f"features of the first {len(first)} clips")
    if not finding:
        return Prepared(lower, "bf16", "")
    if requested == "auto":
        return Prepared(network, "fp32", f"fp32, as {finding}")
    return Prepared(lower, "bf16", finding)


def _disagreement(reference: VideoNetwork, lower: VideoNetwork, clips: Tensor, name: str) -> str:
    """A sentence where the two networks differ by more than bfloat16's rounding, else ""."""
    few = (clips[start : start + _CHECK_CLIPS] for start in range(0, len(clips), _CHECK_CLIPS))
    cosine = min(agreement(reference, lower, some) for some in few)
    if cosine >= MIN_COSINE:
        return ""
    return f"bf16 {name} differ from fp32 on this device (cosine {cosine:.4f}, expected {MIN_COSINE})"


def agreement(reference: VideoNetwork, other: VideoNetwork, clips: Tensor) -> float:
    """The lowest cosine, over clips, of the two networks' features; -1 where any is not finite."""
    with torch.inference_mode():
        cosines = torch.cosine_similarity(reference(clips), other(clips), dim=1)
    return float(cosines.min()) if bool(cosines.isfinite().all()) else -1.0


def check_clips(size: int, device: torch.device) -> Tensor:
    """Two clips, the same everywhere: coarse random blocks, so that they have edges and areas as videos do."""
    generator = torch.Generator().manual_seed(_CHECK_SEED)
    coarse = torch.rand(_CHECK_CLIPS, 3, _CHECK_FRAMES, 14, 14, generator=generator) * 2 - 1
    shape = (_CHECK_FRAMES, size, size)
    return torch.nn.functional.interpolate(coarse, size=shape, mode="nearest").to(device)

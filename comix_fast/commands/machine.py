"""The device and the threads that heavy work runs on."""

from __future__ import annotations

import torch

from comix_fast.errors import ComixError


def choose_device(name: str) -> str:
    """ "auto": CUDA where there is one, else the CPU. Raises ComixError for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ComixError(f"there is no device {name!r}", hint="--device takes auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ComixError(f"device {name!r} is not supported", hint="--device takes auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise ComixError(f"this machine has no device {name!r}", hint="--device auto takes what there is")
    return str(device)


def set_threads(threads: int | None) -> None:
    """How many threads torch computes with; None leaves its default, all cores."""
    if threads is not None:
        torch.set_num_threads(threads)

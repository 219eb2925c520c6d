"""Which versions computed a shard: no part of the recipe, and what explains a difference in the last bit."""

from __future__ import annotations

import importlib.metadata

import torch

from comix_fast.version import __version__

LIBRARIES = ("torch", "numpy", "pillow", "av", "h5py")


def made_with(device: str) -> dict[str, str]:
    """Versions by name, and what computes: the CPU's instructions that torch uses, or the GPU's name."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    kind = torch.device(device).type
    hardware = torch.cuda.get_device_name(device) if kind == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"comix-fast": __version__, **versions, kind: hardware}

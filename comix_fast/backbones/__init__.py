"""Video networks that turn clips into features, behind one call: load_backbone.

Names are resolved on first use, so that listing backbones or parsing a command line does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from comix_fast.backbones.registry import BACKBONES, Architecture, backbone_names

if TYPE_CHECKING:
    from comix_fast.backbones.backbone import Backbone, load_backbone
    from comix_fast.backbones.weights import convert_weights, known_weights, verify_weights

__all__ = [
    "BACKBONES",
    "Architecture",
    "Backbone",
    "backbone_names",
    "convert_weights",
    "known_weights",
    "load_backbone",
    "verify_weights",
]

_HOMES = {
    "Backbone": "backbone",
    "load_backbone": "backbone",
    "convert_weights": "weights",
    "known_weights": "weights",
    "verify_weights": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

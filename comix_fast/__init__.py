"""comix-fast: unsupervised video domain adaptation on a feature cache.

`load(run).predict(paths)` classifies new videos. It is resolved on first use, so that importing this does not import
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from comix_fast.version import __version__

if TYPE_CHECKING:
    from comix_fast.serving.model import AdaptedModel, load

__all__ = ["AdaptedModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name not in ("AdaptedModel", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("comix_fast.serving.model"), name)

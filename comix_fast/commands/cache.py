"""`comix cache info`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from comix_fast.cache import CacheSummary, FeatureCache
from comix_fast.tables import cache_table


def summary(folder: Path) -> CacheSummary:
    """What the cache holds."""
    return FeatureCache(folder).summary()


def to_json(found: CacheSummary) -> dict[str, Any]:
    """For --json."""
    value = asdict(found)
    for name in ("listed", "extracted"):
        value[name] = {f"{domain} {split}": count for (domain, split), count in getattr(found, name).items()}
    return value | {"path": str(found.path)}


def table(found: CacheSummary) -> RenderableType:
    """For people."""
    return cache_table(found)

"""`comix weights`: list, verify and convert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from comix_fast.backbones.weights import KnownWeights, convert_weights, known_weights, verify_weights
from comix_fast.tables import weights_table

Verdicts = Mapping[tuple[str, str], str]


def known(verify: bool) -> tuple[list[KnownWeights], Verdicts]:
    """Every named weights file, and if asked whether each is whole."""
    records = known_weights()
    verdicts = {(one.backbone, one.name): verify_weights(one) for one in records} if verify else {}
    return records, verdicts


def convert(source: Path, out: Path, backbone: str) -> dict[str, str]:
    """Writes safetensors; the digest of what is in it."""
    return {"out": str(out), "sha256": convert_weights(source, out, backbone)}


def to_json(records: Sequence[KnownWeights], verdicts: Verdicts) -> list[dict[str, Any]]:
    """For --json."""
    return [
        {
            "backbone": one.backbone,
            "weights": one.name,
            "present": one.present,
            "path": None if one.path is None else str(one.path),
            "bytes": one.size,
            "obtain": one.obtain,
            "sha256": one.sha256,
            "file_sha256": one.file_sha256,
            "check": verdicts.get((one.backbone, one.name)),
        }
        for one in records
    ]


def table(records: Sequence[KnownWeights], verdicts: Verdicts) -> RenderableType:
    """For people."""
    return weights_table(records, verdicts)

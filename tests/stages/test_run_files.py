"""The files of a run on a disk that is full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from comix_fast.errors import RunError
from comix_fast.stages import runs


def test_a_full_disk_is_an_error_with_a_way_out_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: Any, path: str, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(runs, "save_file", full)
    with pytest.raises(RunError, match=r"(?s)head.safetensors can't be written: No space left.*make room"):
        runs.save_tensors(tmp_path / "head.safetensors", {"w": torch.ones(2)})
    assert list(tmp_path.iterdir()) == []

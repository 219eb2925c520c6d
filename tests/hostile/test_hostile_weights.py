"""Weights files with code in them, or tensors that are more than their file: refused by name, nothing run or taken."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from comix_fast.backbones import load_backbone
from comix_fast.backbones.state import read_state
from comix_fast.backbones.weights import convert_weights
from comix_fast.errors import WeightsError
from comix_fast.stages.published_checkpoints import read_published

READERS = (read_state, read_published)


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_by_name(tmp_path: Path, read: Callable[[Path], Any], suffix: str, zipped: bool) -> None:
    path, mark = tmp_path / f"w{suffix}", tmp_path / "ran"
    torch.save({"state_dict": {}, "also": Runs(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="reading it would run code") as refused:
        read(path)
    assert "it holds posix.system" in refused.value.details
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the payload is none"


@pytest.mark.parametrize("read", READERS)
def test_a_bare_pickle_with_code(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(WeightsError):
        read(path)
    assert not (tmp_path / "ran").exists()


def test_every_way_in_refuses_code(tmp_path: Path) -> None:
    path, mark = tmp_path / "w.pt", tmp_path / "ran"
    torch.save(Runs(mark), path)
    for way in (
        lambda: load_backbone("i3d", path, "fp32"),
        lambda: convert_weights(path, tmp_path / "w.safetensors"),
        lambda: read_published(path, path),
    ):
        with pytest.raises(WeightsError, match="would run code"):
            way()
    path.rename(tmp_path / "i3d.ckpt")
    with pytest.raises(WeightsError, match="is not the published checkpoint"):
        convert_weights(tmp_path / "i3d.ckpt", tmp_path / "w.safetensors")
    assert not mark.exists()


MORE = {
    "40 GB of one number": lambda: torch.ones(1).expand(100_000, 100_000),
    "rows of one row": lambda: torch.ones(3).expand(4, 3),
    "no memory at all": lambda: torch.empty(4, 4, device="meta"),
    "sparse": lambda: torch.eye(4).to_sparse(),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", MORE)
def test_tensors_that_are_more_than_their_file(tmp_path: Path, read: Callable[[Path], Any], kind: str) -> None:
    tensor = MORE[kind]
    path = tmp_path / "w.pt"
    for content in ({"gc1.weight": tensor()}, {"state_dict": {"gc1.weight": tensor(), "gc3.weight": torch.eye(4)}}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"not stored in it whole: gc1\.weight"):
            read(path)


def test_tensors_of_one_memory_are_whole(tmp_path: Path) -> None:
    both = torch.arange(8.0)
    torch.save({"a": both[:4], "b": both[4:], "c": both.view(2, 4).T}, tmp_path / "w.pt")
    assert read_state(tmp_path / "w.pt")["c"].shape == (4, 2)


@pytest.mark.parametrize("read", READERS)
def test_bytes_changed_at_random(tmp_path: Path, read: Callable[[Path], Any], rng: Any) -> None:
    path = tmp_path / "w.pt"
    torch.save({"gc1.weight": torch.eye(4), "gc3.weight": torch.eye(4)}, path)
    whole = path.read_bytes()
    for _ in range(150):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read(path)
        except WeightsError as refused:
            assert refused.message.startswith(str(path))


def test_a_header_of_safetensors_that_lies(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for header in (
        b"{",
        b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000000]}}',
    ):
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
        with pytest.raises(WeightsError, match="no whole safetensors file"):
            read_state(path)
    path.write_bytes(struct.pack("<Q", 2**62) + bytes(8))
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        read_state(path)


def test_an_archive_of_other_things(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("../../evil", "x")
    for read in READERS:
        with pytest.raises(WeightsError, match=r"w\.pt"):
            read(tmp_path / "w.pt")
    assert not (tmp_path.parents[1] / "evil").exists()

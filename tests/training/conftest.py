"""Fixtures of training from frames."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny import draw_footage, footage_of, register

from comix_fast.datasets import Dataset


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a backbone of three small convolutions, which takes clips of 32 pixels."""
    return register(monkeypatch.setattr)


@pytest.fixture(scope="session")
def footage_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small videos of two domains, "source" and "target"; not to be changed."""
    return draw_footage(tmp_path_factory.mktemp("footage"))


@pytest.fixture
def footage_dataset(footage_root: Path) -> Dataset:
    """These videos as a dataset."""
    return footage_of(footage_root)


@pytest.fixture
def own_footage(footage_root: Path, tmp_path: Path) -> Path:
    """A copy of these videos, to be changed."""
    return shutil.copytree(footage_root, tmp_path / "own footage")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[Callable[[int], None]]:
    """One thread: networks as small as the tests' wait long for a second core that is busy with something else."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)

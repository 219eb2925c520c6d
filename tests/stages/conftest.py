"""Fixtures of the stages' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch computes with, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(torch_threads: Callable[[int], None]) -> None:
    """One thread: heads as small as the tests' wait long for a second core that is busy with something else."""
    torch_threads(1)

"""Tests that need a GPU: skipped, with the reason, where torch sees none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    """The GPU that torch takes when "cuda" is asked for."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU: torch.cuda.is_available() is false here")
    return torch.device("cuda")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What is compared with the GPU there is small, and threads cost more to wake than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

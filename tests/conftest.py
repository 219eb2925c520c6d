"""What tests share: where the outside data lies, and seeded randomness."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and published lists; tests that need it skip where it is absent."""
    root = Path(os.environ.get("COMIX_SHARED", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no shared data at {root}; set COMIX_SHARED")
    return root


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers from the published code, small enough to live in the repository."""
    return GOLDEN


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)

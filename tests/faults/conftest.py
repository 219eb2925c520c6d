"""The workshop of the faults, made once for all of their tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workshop import Workshop


@pytest.fixture(scope="session")
def shop() -> Iterator[Workshop]:
    with Workshop() as made:
        yield made

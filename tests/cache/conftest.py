"""A sound cache for the tests of `verify`, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sound_cache import write_sound


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound(tmp_path_factory.mktemp("sound") / "cache", 12)


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "cache"))

"""Tests of the extra `scale`. They share the stand-ins of the tests of stages, in worker processes too."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

STAGES = Path(__file__).parent.parent / "stages"
if str(STAGES) not in sys.path:
    sys.path.append(str(STAGES))

# Ray settles how it tells friends from strangers once for each process, when it is imported.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files: so short a name that Ray's sockets fit in. A test must leave it empty.

    No process may be left either that was told of it.
    """
    folder = Path(tempfile.mkdtemp(prefix="cx", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    left = list(folder.iterdir())
    shutil.rmtree(folder)
    assert left == []
    # One that has been killed may take a moment.
    for _ in range(50):
        if not _processes_of(folder):
            break
        time.sleep(0.1)
    assert _processes_of(folder) == []


def _processes_of(folder: Path) -> list[str]:
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words[:200])
    return found

"""`comix extract --engine ray`, as typed, in a process of its own with all that Ray prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in import files_of

from builders import Ended, WriteVideo

pytest.importorskip("ray", reason="needs the extra scale: pip install 'comix-fast[scale]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_command_writes_what_it_writes_without_ray(
    comix: Callable[..., Ended], film: WriteVideo, tmp_path: Path, short_tmp: Path
) -> None:
    token = Path.home() / ".ray/auth_token"
    had_token = token.exists()
    for number, name in enumerate(("a/go/1", "a/stop/1", "b/1")):
        film(tmp_path / f"{name}.mp4", 20 + number, seed=number)
    # Relative, as people type: nodes have other folders to work in.
    words = ["extract", "--source", "a", "--target", "b", "--weights", "random", "--precision", "fp32", "--json"]
    words += ["--views", "plain", "--threads", "2", "--no-compile", "--shard-size", "1"]
    assert comix(*words, "--out", "plain").code == 0
    told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    told["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "comix_fast", *words, "--out", "ray", "--engine", "ray", "--workers", "2"]
    ended = subprocess.run(command, check=False, cwd=tmp_path, env=told, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["extracted"] == 3
    assert token.exists() == had_token
    assert "surveying videos: 3/3 videos" in ended.stderr
    assert "ray" not in ended.stderr.lower().replace(str(tmp_path).lower(), "").replace("videos into ray", "")
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "plain")

"""Processes that end together, however one of them ends. They import no torch, so each case takes half a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, pathlib, signal, sys, time
from comix_fast.training import others

others.GRACE_SECONDS = 1.0
case, folder, *first = sys.argv[1], pathlib.Path(sys.argv[2])
with others.started(2, lambda text: print("heard:", text, file=sys.stderr)):
    rank = int(os.environ["LOCAL_RANK"])
    (folder / f"{rank}").write_text(str(os.getpid()))
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    print("said by", rank, "with", sys.argv[3:])
    acts = case.split()[0] == str(rank)
    try:
        if acts and "exits" in case:
            sys.exit("there was no more to do")
        if acts and "killed" in case:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0 if case == "both end" else 60)
    finally:
        (folder / f"{rank} ended").touch()
print("over")
"""


def run(case: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Two processes of which one does what `case` says, and the other waits for a minute."""
    script, folder = tmp_path / "script.py", tmp_path / "seen"
    script.write_text(SCRIPT)
    folder.mkdir()
    outer = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "COMIX_PARENT")}
    words = [sys.executable, str(script), case, str(folder), "--a word", "ä"]
    return subprocess.run(words, env=outer, capture_output=True, text=True, timeout=50, check=False)


def has_ended(tmp_path: Path, rank: int, within: float = 10) -> bool:
    """Whether a process is gone, or soon is."""
    process = Path("/proc") / (tmp_path / "seen" / str(rank)).read_text()
    until = time.monotonic() + within
    while process.exists() and "\nState:\tZ" not in (process / "status").read_text():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_both_do_the_same_and_one_is_heard(tmp_path: Path) -> None:
    done = run("both end", tmp_path)
    assert done.returncode == 0
    assert done.stdout == "said by 0 with ['--a word', 'ä']\nover\n"
    assert done.stderr == ""
    assert has_ended(tmp_path, 1, within=0)
    assert (tmp_path / "seen/1 ended").exists()


def test_if_another_fails_its_words_are_heard(tmp_path: Path) -> None:
    done = run("1 exits", tmp_path)
    assert done.returncode == 2
    assert "heard: process 2 of 2 ended with code 1, so all were ended\n  there was no more to do" in done.stderr


def test_if_another_is_killed_it_is_said(tmp_path: Path) -> None:
    done = run("1 killed", tmp_path)
    assert done.returncode == 2
    assert "heard: process 2 of 2 was ended by signal 9" in done.stderr
    assert "perhaps the machine was short of memory" in done.stderr


def test_if_the_first_fails_the_other_ends_in_an_orderly_way(tmp_path: Path) -> None:
    done = run("0 exits", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "there was no more to do\n"
    assert has_ended(tmp_path, 1, within=0)
    assert (tmp_path / "seen/1 ended").exists()


def test_if_the_first_is_killed_the_other_ends_too(tmp_path: Path) -> None:
    done = run("0 killed", tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert has_ended(tmp_path, 1)
    assert (tmp_path / "seen/1 ended").exists()


@pytest.mark.parametrize("found", [{"LOCAL_RANK": "1"}, {"SLURM_STEP_NUM_TASKS": "2"}])
def test_none_are_started_where_others_have(monkeypatch: pytest.MonkeyPatch, found: dict[str, str]) -> None:
    """By torchrun or srun: nothing is started, and the environment is left as it is."""
    from comix_fast.training import others

    for name, value in found.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(others.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    before = dict(os.environ)
    with others.started(2, print) as started:
        assert started.from_outside
        assert started.failure() is None
        assert dict(os.environ) == before

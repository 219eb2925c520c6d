"""`comix cache merge` as a user types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import Ended, MakeCache


@pytest.fixture
def halves(make_cache: MakeCache, tmp_path: Path) -> tuple[Path, Path]:
    """A cache's source videos, and its target videos."""
    whole = make_cache("whole", per_class=2)
    for name, lacks in (("one", "target"), ("other", "source")):
        shutil.copytree(whole, tmp_path / name)
        for path in (tmp_path / name / "shards").glob(f"{lacks}-*.h5"):
            path.unlink()
    return Path("one"), Path("other")


def test_it_says_what_to_type_next(comix: Callable[..., Ended], halves: tuple[Path, Path]) -> None:
    ended = comix("cache", "merge", *halves, "--out", "a cache")
    assert ended.code == 0, ended.err
    first, last = ended.out.splitlines()
    assert first.startswith("a cache: 12 of 12 listed videos; 2 files copied (0.")
    assert last == "next: comix adapt --from-cache 'a cache'"
    assert "copying: 2/2 files" in ended.err
    again = comix("cache", "merge", *halves, "--out", "a cache")
    assert again.out.splitlines()[0] == "a cache: 12 of 12 listed videos; nothing to copy, 2 were there"
    assert again.err == ""


def test_what_is_missing_is_said(comix: Callable[..., Ended], halves: tuple[Path, Path]) -> None:
    ended = comix("cache", "merge", halves[0], "--out", "cache")
    assert (ended.code, ended.out) == (2, "")
    assert "error: the parts are not all of it; nothing was changed\n" in ended.err
    assert "6 of 12 listed videos" in ended.err and "--allow-missing" in ended.err
    ended = comix("cache", "merge", halves[0], "--out", "cache", "--allow-missing", "--quiet")
    assert ended.code == 0 and "warning: cache is not complete" in ended.err
    assert "next: the same command with the folders of the missing parts" in ended.out
    ended = comix("cache", "merge", halves[1], "--out", "cache", "--json")
    said = json.loads(ended.out)
    assert said["complete"] and (said["copied_files"], said["present_before"], said["videos"]) == (1, 1, 12)
    assert said["failures"] == said["lacking"] == []


def test_it_asks_for_an_out(comix: Callable[..., Ended], halves: tuple[Path, Path]) -> None:
    assert "--out" in comix("cache", "merge", *halves).err

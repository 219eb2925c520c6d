"""`comix cache compact` as a user types it; and every command that reads caches, on the file and on the folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import Ended, MakeCache

ADAPT = ("--seeds", 2, "--warmstart-iterations", 20, "--iterations", 20, "--eval-every", 10, "--threads", 1)


@pytest.fixture
def both(comix: Callable[..., Ended], make_cache: MakeCache) -> tuple[Path, Path]:
    folder = make_cache("ut", test=True)
    assert comix("cache", "compact", folder, "--out", "ut.h5", "--quiet").code == 0
    return folder, Path("ut.h5")


def test_it_says_how_to_read_it(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    ended = comix("cache", "compact", make_cache("ut", per_class=2), "--out", "a file.h5")
    assert ended.code == 0, ended.err
    first, how, last = ended.out.splitlines()
    assert first.startswith("a file.h5: 0.") and "12 videos, " in first and "bgmix-1 192" in first
    assert how == "with h5py alone: print(h5py.File('a file.h5').attrs['how-to-read'])"
    assert last == "next: comix adapt --from-cache 'a file.h5'"
    assert "every row of features was checked" in ended.err
    assert "warning" not in ended.err
    ended = comix("cache", "compact", "ut", "--out", "a file.h5")
    assert ended.code == 2 and "a file.h5 exists\n  pass --force" in ended.err
    ended = comix("cache", "compact", "ut", "--out", "a file.h5", "--force", "--json")
    said = json.loads(ended.out)
    assert (said["videos"], said["bytes"]) == (12, Path("a file.h5").stat().st_size)


def test_what_is_lacking_is_said(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    folder = make_cache("ut", per_class=2)
    next((folder / "shards").glob("target-*.h5")).unlink()
    ended = comix("cache", "compact", folder, "--out", "ut.h5")
    assert ended.code == 0
    assert "warning: 6 listed videos have no features in it: nothing can be added to it later" in ended.err


def test_its_contents_are_shown(comix: Callable[..., Ended], both: tuple[Path, Path]) -> None:
    shown = [json.loads(comix("cache", "info", path, "--json").out) for path in both]
    for one in shown:
        del one["path"], one["n_bytes"], one["n_shards"]
    assert shown[0] == shown[1]
    assert "view bgmix-1" in comix("cache", "info", both[1]).out


def files_of(run: Path, cache: Path) -> dict[str, Any]:
    """A run's files; its own name, its cache's path and the seconds it took are left out."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        if path.suffix == ".safetensors":
            found[str(path.relative_to(run))] = path.read_bytes()
        elif path.name == "results.json":
            text = path.read_text().replace(str(cache.resolve()), "CACHE").replace(cache.resolve().name, "CACHE")
            value = json.loads(text)
            found["results"] = {name: one for name, one in value.items() if "second" not in name and name != "run"}
    return found


@pytest.mark.parametrize("memory", ["load", "map"])
def test_a_run_on_the_file_is_the_run_on_the_folder(
    comix: Callable[..., Ended], both: tuple[Path, Path], memory: str
) -> None:
    runs = []
    for number, path in enumerate(both):
        ended = comix("adapt", "--from-cache", path, *ADAPT, "--name", f"run-{number}", "--memory", memory)
        assert ended.code == 0, ended.err
        runs.append(files_of(Path("runs") / f"run-{number}", path))
    assert len(runs[0]) > 2 and "results" in runs[0]
    assert runs[0] == runs[1]


def test_neighbours_and_comparisons_are_the_same(comix: Callable[..., Ended], both: tuple[Path, Path]) -> None:
    found = []
    for number, path in enumerate(both):
        ended = comix("retrieve", "--from-cache", path, "--out", f"{number}.json")
        assert ended.code == 0, ended.err
        found.append(Path(f"{number}.json").read_text().replace(str(path.resolve()), "C").replace(str(path), "C"))
    assert found[0] == found[1]
    compare = ("--methods", "source-only", "--seeds", 1, "--warmstart-iterations", 10, "--threads", 1, "--json")
    tables = []
    for number, path in enumerate(both):
        ended = comix("compare", "--from-cache", path, "--name", f"c{number}", *compare)
        assert ended.code == 0, ended.err
        tables.append(json.loads(ended.out))
    assert [table.pop("compare") for table in tables] == ["runs/c0", "runs/c1"]
    assert tables[0] == tables[1]


def test_extract_does_not_add_to_it(comix: Callable[..., Ended], both: tuple[Path, Path], tmp_path: Path) -> None:
    before = both[1].read_bytes()
    for name in ("a/go/1.mp4", "a/stop/1.mp4", "b/go/1.mp4", "b/stop/1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"no video")
    ended = comix(
        "extract", "--source", "a", "--target", "b", "--out", "ut.h5", "--weights", "random", "--precision", "fp32"
    )
    assert ended.code == 2 and "ut.h5 is a file, not a folder" in ended.err
    assert "a compacted cache is not added to" in ended.err
    assert both[1].read_bytes() == before

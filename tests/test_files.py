"""A file is there whole, or it is not there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comix_fast.errors import ComixError
from comix_fast.files import held_lock, remove_partial, whole_file, write_json


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": "ü"})
    with pytest.raises(RuntimeError), whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == '{\n  "a": "ü"\n}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_block_that_ends_well_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "below" / "x.bin"
    for content in (b"one", b"two"):
        with whole_file(path) as partial:
            partial.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"one"
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644


def test_leftovers_alone_are_removed(tmp_path: Path) -> None:
    for name in (".a.h5.1.partial", "a.h5", ".lock"):
        (tmp_path / name).touch()
    remove_partial(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "a.h5"]


def test_a_lock_whose_file_was_removed_by_its_holder_is_taken_anew(tmp_path: Path) -> None:
    path, refusal, taken = tmp_path / ".lock", ComixError("held"), threading.Event()

    def waiting() -> None:
        with held_lock(path, refusal, wait=True):
            taken.set()
            # The file is there, and held: whoever comes now is refused.
            with pytest.raises(ComixError, match="held"), held_lock(path, refusal):
                pass

    with ThreadPoolExecutor() as threads:
        with held_lock(path, refusal):
            other = threads.submit(waiting)
            assert not taken.wait(0.2)
            path.unlink()
        other.result(timeout=10)
    assert taken.is_set()

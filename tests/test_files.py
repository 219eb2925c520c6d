"""A file is there whole, or it is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from comix_fast.files import remove_partial, whole_file, write_json


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

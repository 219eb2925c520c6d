"""videos.json: a hint where a cache's videos are, which nothing hangs on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.cache import whereabouts as module
from comix_fast.cache.merge import merge
from comix_fast.cache.verify import verify
from comix_fast.cache.whereabouts import Whereabouts, read_whereabouts, write_whereabouts
from comix_fast.cache.writer import refuse_foreign
from comix_fast.console import Silent
from comix_fast.errors import CacheError

TOML = Whereabouts(toml=Path("/d/ut.toml"))


@pytest.mark.parametrize(
    ("named", "stated"),
    [
        (TOML, {"toml": "/d/ut.toml"}),
        (Whereabouts(source=Path("/a"), target=Path("/b")), {"source": "/a", "target": "/b"}),
        (
            Whereabouts(preset="jester", base_dir=Path("/j"), splits=Path("/s"), published_validation=True),
            {"preset": "jester", "base_dir": "/j", "splits": "/s", "published_validation": True},
        ),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, named: Whereabouts, stated: dict[str, Any]) -> None:
    assert read_whereabouts(tmp_path) is None
    assert write_whereabouts(tmp_path, named)
    assert read_whereabouts(tmp_path) == named
    assert json.loads((tmp_path / "videos.json").read_text())["named"] == stated


def test_paths_are_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_whereabouts(tmp_path, Whereabouts(toml=Path("ut.toml")))
    assert read_whereabouts(tmp_path) == Whereabouts(toml=tmp_path / "ut.toml")


def test_the_same_again_changes_nothing_and_another_replaces(tmp_path: Path) -> None:
    path = tmp_path / "videos.json"
    write_whereabouts(tmp_path, TOML)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_whereabouts(tmp_path, TOML)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    write_whereabouts(tmp_path, Whereabouts(toml=Path("/other.toml")))
    assert read_whereabouts(tmp_path) == Whereabouts(toml=Path("/other.toml"))
    path.write_text("damaged")
    assert write_whereabouts(tmp_path, TOML) and read_whereabouts(tmp_path) == TOML


def test_where_it_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_marked", refusing)
        assert not write_whereabouts(tmp_path, TOML)
    assert not write_whereabouts(tmp_path, Whereabouts(toml=Path("/d/\udcff.toml")))
    assert not write_whereabouts(tmp_path, Whereabouts(toml=Path("/d/a\nb.toml")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "stated",
    [
        None,
        [],
        {},
        {"toml": 3},
        {"toml": "ut.toml"},
        {"toml": "/a\u0000b"},
        {"toml": "/a\u001b[2J"},
        {"toml": "/a", "source": "/b"},
        {"source": "/a"},
        {"toml": "/a", "command": "rm"},
        {"preset": "jester", "base_dir": "/j", "splits": "/s", "published_validation": 1},
        {"preset": ["jester"], "base_dir": "/j", "splits": "/s", "published_validation": True},
    ],
)
def test_anything_else_is_refused(tmp_path: Path, stated: Any) -> None:
    module.write_marked(tmp_path / "videos.json", "comix-videos", {"named": stated})
    with pytest.raises(CacheError, match="does not say where videos are"):
        read_whereabouts(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    write_whereabouts(tmp_path, TOML)
    (tmp_path / "c/videos.json").symlink_to(tmp_path / "videos.json")
    with pytest.raises(CacheError, match="is a link"):
        read_whereabouts(tmp_path / "c")


def test_verify_knows_the_file_and_notes_its_damage(make_cache: MakeCache) -> None:
    root = make_cache()
    before = verify(root, Silent())
    write_whereabouts(root, TOML)
    found = verify(root, Silent())
    assert found.sound and found.notes == before.notes
    assert found.counts.files == before.counts.files + 1
    path = root / "videos.json"
    path.write_bytes(path.read_bytes().replace(b"ut.toml", b"xt.toml"))
    found = verify(root, Silent())
    assert found.sound
    assert len(found.notes) == len(before.notes) + 1
    assert any(note.file == "videos.json" and "of no use" in note.what for note in found.notes)


def test_merge_hands_on_the_first_hint(make_cache: MakeCache, tmp_path: Path) -> None:
    whole = make_cache("whole", per_class=2)
    for name, lacks in (("one", "target"), ("other", "source")):
        shutil.copytree(whole, tmp_path / name)
        for shard in (tmp_path / name / "shards").glob(f"{lacks}-*.h5"):
            shard.unlink()
    (tmp_path / "one/videos.json").write_text("damaged")
    write_whereabouts(tmp_path / "other", TOML)
    out = tmp_path / "out"
    merge([tmp_path / "one", tmp_path / "other"], out)
    assert (out / "videos.json").read_bytes() == (tmp_path / "other/videos.json").read_bytes()
    # One that is there is kept.
    write_whereabouts(out, Whereabouts(toml=Path("/kept.toml")))
    merge([tmp_path / "one", tmp_path / "other"], out)
    assert read_whereabouts(out) == Whereabouts(toml=Path("/kept.toml"))


def test_it_is_no_part_of_the_key_and_no_foreign_file(make_cache: MakeCache) -> None:
    root = make_cache()
    key = FeatureCache(root).key
    write_whereabouts(root, TOML)
    assert FeatureCache(root).key == key
    (root / "manifest.json").unlink()
    (root / ".videos.json.abc.partial").touch()
    refuse_foreign(root)

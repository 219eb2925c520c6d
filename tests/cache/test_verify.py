"""A sound cache is called sound; whatever is changed in it is found, by the check that is meant to find it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from sound_cache import DIM, checked, forged, holding, whats, write_sound

from builders import edited
from comix_fast.cache.compact import compact
from comix_fast.cache.stored_json import read_json, write_marked
from comix_fast.cache.verify import verify
from comix_fast.console import Silent
from comix_fast.errors import CacheError

ARCHIVE = Path(__file__).parents[1] / "data" / "caches"


def test_a_sound_cache_is_sound(root: Path) -> None:
    done = checked(root)
    assert done.sound
    assert done.notes == ()
    assert (done.counts.videos, done.counts.backgrounds, done.counts.unhashed) == (28, 28, 0)
    assert done.counts.files == 2 * 4 + 3
    assert done.counts.n_bytes == sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    # Of each domain three times four training videos, and two that it is tested on.
    plain = 2 * (3 * (16 + 18 + 20 + 20) + 2 * 16)
    assert done.counts.clips == plain
    assert done.counts.rows == 2 * plain + 2 * 2 * 12 * 16


def test_a_bit_flipped_anywhere_is_found(tmp_path: Path) -> None:
    root = write_sound(tmp_path / "cache", 1, 0, part=True)
    assert checked(root).sound
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    assert {path.relative_to(root).parts[0] for path in files} == {
        "manifest.json", "dataset.json", "failures.json", "shards", "surveys", "parts"
    }  # fmt: skip
    rng = np.random.default_rng(11)
    missed = []
    for path in files:
        content = path.read_bytes()
        for _ in range(26):
            place, bit = int(rng.integers(len(content))), int(rng.integers(8))
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            if path.relative_to(root).as_posix() not in {finding.file for finding in checked(root).findings}:
                missed.append((path.name, place, bit))
        path.write_bytes(content)
    assert 26 * len(files) > 200
    assert missed == []
    assert checked(root).sound


@pytest.mark.parametrize("cut", [1, 50, 2000])
def test_a_cut_file_is_one_finding_and_not_the_end(root: Path, cut: int) -> None:
    path = holding(root, "shards", "source/0")
    path.write_bytes(path.read_bytes()[:-cut])
    other = holding(root, "surveys", "target/0")
    other.write_bytes(b"")
    found = checked(root).findings
    assert sorted(finding.file for finding in found) == sorted([f"shards/{path.name}", f"surveys/{other.name}"])
    assert all(finding.remedy == "extract" for finding in found)


def test_changed_features_are_named_by_video(root: Path) -> None:
    path = holding(root, "shards", "source/0")
    with h5py.File(path, "r") as file:
        features, offsets = file["views/bgmix-1/features"], file["views/bgmix-1/offsets"]
        place = features.id.get_offset() + 2 * DIM * int(offsets[3])
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    whole, row = checked(root).findings
    assert whole.what == "it is not what was written: its features have changed"
    assert row.what == "bgmix-1: 1 of 192 rows are not what was written, in"
    assert row.names == ("source/3",)


def test_lists_that_have_changed_are_no_damage(root: Path) -> None:
    value = read_json(root / "dataset.json")
    value.pop("sha256")
    value["target"]["train"] = [[f"target/new-{n}", 0] for n in range(30)] + value["target"]["train"][::-1]
    value["source"]["test"] = value["source"]["test"][:1]
    write_marked(root / "dataset.json", "comix-dataset", value)
    done = checked(root)
    assert done.sound
    assert {note.what for note in done.notes} == {
        "donors are those of other lists than today's, at extraction",
        "videos are listed and have no features; the same extract tries them",
        "videos have features and are not listed any more",
    }


def test_labels_of_other_lists_are_no_damage(root: Path) -> None:
    value = read_json(root / "dataset.json")
    value.pop("sha256")
    value["classes"] = ["wave"]
    for domain in ("source", "target"):
        for split in ("train", "test"):
            value[domain][split] = [[video, 0] for video, label in value[domain][split] if label == 1]
    write_marked(root / "dataset.json", "comix-dataset", value)
    done = checked(root)
    assert done.sound
    assert any("labels are outside the 1 classes: they are those of other lists" in note.what for note in done.notes)


def test_links_are_found_and_not_followed(root: Path, tmp_path: Path) -> None:
    path = holding(root, "shards", "source/0")
    path.rename(tmp_path / "elsewhere.h5")
    path.symlink_to(tmp_path / "elsewhere.h5")
    found = checked(root).findings
    assert [(one.file, one.what) for one in found] == [
        (f"shards/{path.name}", "it is a link, and may lead anywhere: readers refuse it")
    ]


def test_leftovers_and_strangers_are_noted(root: Path) -> None:
    (root / "shards" / ".source-0.h5.x.partial").write_bytes(b"half a shard")
    (root / "holiday.jpg").write_bytes(b"")
    holding(root, "surveys", "target/test-0").unlink()
    done = checked(root)
    assert done.sound
    assert {note.what: note.names for note in done.notes} == {
        "files that an interrupted extract left; the next one removes them": ("shards/.source-0.h5.x.partial",),
        "files that are no part of a cache, and were not looked at": ("holiday.jpg",),
        "videos have features and no survey; the next extract decodes them again": ("target/test-0", "target/test-1"),
    }


def test_a_newer_file_asks_for_an_update(root: Path) -> None:
    with edited(holding(root, "shards", "source/0")) as file:
        file.attrs["encoding-version"] = "9"
    (found,) = checked(root).findings
    assert found.remedy == "update"


def test_without_a_manifest_the_rest_is_still_looked_at(root: Path) -> None:
    (root / "manifest.json").unlink()
    (root / "dataset.json").write_bytes(b"{")
    assert {finding.file for finding in checked(root).findings} == {"manifest.json", "dataset.json"}
    with forged(root, "shards", "source/0") as file:
        file["views/plain/features"][3] = np.inf
    assert "plain: 1 of 222 rows are not finite, in" in whats(root)


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="holds no feature cache"):
        verify(tmp_path, Silent())


def test_an_old_cache_is_checked_for_sense() -> None:
    done = checked(ARCHIVE / "form-1")
    assert done.sound
    assert done.counts.unhashed == done.counts.files == 11
    assert [note.what for note in done.notes] == ["11 files are of form 1, without hashes: checked for sense only"]


def test_a_compacted_cache_is_checked_alike(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache.h5"
    compact(sound, path)
    folder, file = checked(sound), checked(path)
    assert file.sound
    assert (file.counts.videos, file.counts.rows) == (folder.counts.videos, folder.counts.rows)
    with edited(path) as forgery:
        forgery["views/bgmix-0/gamma"][0] = 0.4
    assert whats(path) == {"bgmix-0: γ is not the one drawn"}
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not checked(path).sound

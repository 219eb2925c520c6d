"""A cache is written, read, cut, flipped, and never added to under another recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from builders import MakeCache, edited, small_recipe
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.seal import read_seal
from comix_fast.cache.stored_json import read_marked, write_marked
from comix_fast.config import ViewPlan
from comix_fast.errors import CacheError


def clips(*rows: float, donor: str | None = None, gamma: float | None = None) -> ViewClips:
    features = np.array(rows, dtype=np.float16)[:, None] + np.array([0.0, 0.5], dtype=np.float16)
    return ViewClips(features, np.arange(len(rows)) * 4, donor, gamma)


def row(name: str, label: int = 0) -> VideoRow:
    return VideoRow(name, label, 72, 29.97, "ab" * 32, 1000)


def write(root: Path, videos: list[str], domain: str = "source") -> None:
    with CacheWriter.open(root, small_recipe(mixes=1)) as cache:
        with cache.shard(domain) as shard:
            for number, video in enumerate(videos):
                shard.add(row(video), {"plain": clips(number, 2.5), "bgmix-0": clips(9, donor="t", gamma=0.25)})
        names = {"source": [[v, 0] for v in videos], "target": [["t", None]]}
        domains = {name: {"name": name, "train": lists, "test": None} for name, lists in names.items()}
        cache.write_dataset({"classes": ["one"], "notes": [], **domains})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "c", ["wave/ä b", "jump"])
    cache = FeatureCache(tmp_path / "c")
    assert [video.id for video in cache.videos("source", "train")] == ["wave/ä b", "jump"]
    assert cache.videos("target", "train") == []
    np.testing.assert_array_equal(cache.features("jump", "plain"), [[1, 1.5], [2.5, 3]])
    assert cache.features("jump").dtype == np.float16
    mixed = cache.clips("wave/ä b", "bgmix-0")
    assert (mixed.donor, mixed.gamma, mixed.starts.tolist()) == ("t", 0.25, [0])
    assert cache.row("jump") == row("jump")
    assert cache.key == json.loads((tmp_path / "c" / "manifest.json").read_text())["key"]
    assert cache.recipe["views"]["bgmix"]["draws"] == 1


def test_every_element_says_what_it_is(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    (shard,) = (tmp_path / "c" / "shards").iterdir()
    bare: list[str] = []
    with h5py.File(shard) as file:
        file.visititems(lambda name, element: bare.append(name) if "encoding-type" not in element.attrs else None)
        assert file.attrs["encoding-version"] == "2"
    assert bare == []


def test_adding_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    before = {path: path.read_bytes() for path in (tmp_path / "c" / "shards").iterdir()}
    with CacheWriter.open(tmp_path / "c", small_recipe(mixes=1)) as cache, cache.shard("source") as shard:
        shard.add(row("b"), {"plain": clips(5)})
    assert FeatureCache(tmp_path / "c").extracted == {"a", "b"}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_another_recipe_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    recipe = small_recipe(mixes=1)
    other = replace(recipe, backbone=dict(recipe.backbone) | {"weights_sha256": "1" * 64}, views=ViewPlan((2,), 1))
    with pytest.raises(CacheError) as refused, CacheWriter.open(tmp_path / "c", other):
        pass
    text = str(refused.value)
    assert f"backbone.weights_sha256: {'1' * 64}, there {'0' * 64}" in text
    assert "views.speed-2: {'speed': 2}, there (absent)" in text
    assert "batch_size" not in text


def test_a_shard_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with CacheWriter.open(tmp_path / "c", small_recipe()) as cache:
        with pytest.raises(KeyboardInterrupt), cache.shard("source") as shard:
            shard.add(row("a"), {"plain": clips(1)})
            raise KeyboardInterrupt
        assert list((tmp_path / "c").rglob("*.h5")) == []
        with cache.shard("source"):
            pass
    assert list((tmp_path / "c").rglob("*.h5")) == []


def test_leftovers_of_a_kill_are_swept(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    leftover = tmp_path / "c" / "shards" / ".source-0.h5.xyz.partial"
    leftover.write_bytes(b"half a shard")
    with CacheWriter.open(tmp_path / "c", small_recipe(mixes=1)):
        assert not leftover.exists()


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    with (
        CacheWriter.open(tmp_path / "c", small_recipe()),
        pytest.raises(CacheError, match="another process is writing"),
        CacheWriter.open(tmp_path / "c", small_recipe()),
    ):
        pass


def test_a_folder_of_other_things_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(CacheError, match=r"holds no cache \(holiday.jpg\)"), CacheWriter.open(tmp_path, small_recipe()):
        pass
    assert not (tmp_path / "manifest.json").exists()


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with (
        CacheWriter.open(tmp_path / "c", small_recipe()) as cache,
        pytest.raises(CacheError, match="non-finite features for a, view plain"),
        cache.shard("source") as shard,
    ):
        shard.add(row("a"), {"plain": clips(1, np.inf)})


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_shard_is_named(tmp_path: Path, keep: float) -> None:
    write(tmp_path / "c", ["a", "b"])
    (shard,) = (tmp_path / "c" / "shards").iterdir()
    content = shard.read_bytes()
    shard.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CacheError, match=f"{shard.name} can't be read as HDF5|{shard.name} has no seal"):
        FeatureCache(tmp_path / "c")


def test_a_shard_that_lost_its_seal_alone_is_named(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a", "b"])
    (shard,) = (tmp_path / "c" / "shards").iterdir()
    with shard.open("rb") as file:
        seal = read_seal(file, "")
    assert seal is not None
    shard.write_bytes(shard.read_bytes()[: seal.n_bytes])
    with pytest.raises(CacheError, match=f"{shard.name} has no seal at its end"):
        FeatureCache(tmp_path / "c")


def test_every_flipped_bit_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a", "b"])
    (shard,) = (tmp_path / "c" / "shards").iterdir()
    content = shard.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(content), 400, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        shard.write_bytes(flipped)
        with pytest.raises(CacheError, match=shard.name):
            cache = FeatureCache(tmp_path / "c")
            for video in ("a", "b"):
                for view in cache.views(video):
                    cache.clips(video, view)


def test_a_newer_form_asks_for_an_update(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    (shard,) = (tmp_path / "c" / "shards").iterdir()
    with edited(shard) as file:
        file["views/plain"].attrs["encoding-version"] = "3"
    cache = FeatureCache(tmp_path / "c")
    with pytest.raises(CacheError, match=r"(?s)/views/plain has the form view 3, .* reads 1 and 2.*update comix-fast"):
        cache.features("a")
    with edited(shard) as file:
        file.attrs["encoding-version"] = "9"
    with pytest.raises(CacheError, match="update comix-fast"):
        FeatureCache(tmp_path / "c")


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a", "b"])
    (shard,) = (tmp_path / "c" / "shards").iterdir()
    with edited(shard) as file:
        file["views/plain/offsets"][1] = 7
    with pytest.raises(CacheError, match="/views/plain has arrays that do not fit together"):
        FeatureCache(tmp_path / "c").features("a")


def test_shards_of_another_cache_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    with CacheWriter.open(tmp_path / "d", small_recipe(mixes=5)) as cache, cache.shard("source") as shard:
        shard.add(row("b"), {"plain": clips(1)})
    (foreign,) = (tmp_path / "d" / "shards").iterdir()
    foreign.rename(tmp_path / "c" / "shards" / foreign.name)
    with pytest.raises(CacheError, match="belongs to another recipe"):
        FeatureCache(tmp_path / "c")


def test_an_edited_manifest_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    manifest = tmp_path / "c" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"fp32"', '"bf16"'))
    with pytest.raises(CacheError, match="its sha256 is not the one it states"):
        FeatureCache(tmp_path / "c")


def test_a_manifest_whose_key_is_of_another_recipe_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    manifest = read_marked(tmp_path / "c" / "manifest.json", "comix-cache")
    manifest["recipe"]["backbone"]["precision"] = "bf16"
    write_marked(tmp_path / "c" / "manifest.json", "comix-cache", manifest)
    with pytest.raises(CacheError, match="the key is not that of the recipe"):
        FeatureCache(tmp_path / "c")


@pytest.mark.parametrize("content", ["", "[]", '{"key": 1}', "no json"])
def test_a_foreign_manifest_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(CacheError, match=r"manifest\.json"):
        FeatureCache(tmp_path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"holds no feature cache: manifest.json is missing"):
        FeatureCache(tmp_path)
    write(tmp_path / "c", ["a"])
    cache = FeatureCache(tmp_path / "c")
    with pytest.raises(CacheError, match="has no video 'b'"):
        cache.features("b")
    with pytest.raises(CacheError, match=r"(?s)no view 'speed-2'.*it has .*plain"):
        cache.features("a", "speed-2")
    with pytest.raises(CacheError, match="'middle' 'train'"):
        cache.videos("middle", "train")


def test_the_summary_counts(make_cache: MakeCache) -> None:
    summary = FeatureCache(make_cache(test=True)).summary()
    assert summary.listed == {
        ("source", "train"): 18,
        ("source", "test"): 9,
        ("target", "train"): 18,
        ("target", "test"): 9,
    }
    assert summary.extracted == summary.listed
    assert summary.clips["bgmix-1"] == 2 * 18 * 16
    # 72, 76, 80, 84 and 88 frames have 16 to 20 candidates.
    lengths = [16 + number % 5 for count in (18, 9) for number in range(count)]
    assert summary.clips["plain"] == 2 * sum(lengths)
    assert summary.n_shards == 4


def test_a_lost_manifest_is_written_again_for_the_same_recipe_alone(tmp_path: Path) -> None:
    write(tmp_path / "c", ["a"])
    manifest = tmp_path / "c" / "manifest.json"
    before = manifest.read_bytes()
    manifest.unlink()
    with pytest.raises(CacheError, match=r"has lost its manifest\.json, and .* made by another recipe"):
        CacheWriter.open(tmp_path / "c", small_recipe(mixes=5)).__enter__()
    assert not manifest.exists()
    with CacheWriter.open(tmp_path / "c", small_recipe(mixes=1)):
        pass
    assert manifest.read_bytes() == before
    assert FeatureCache(tmp_path / "c").extracted == {"a"}


@pytest.mark.parametrize("left", [".attempts-abc", ".dataset.json.x1.partial"])
def test_what_a_killed_extract_leaves_is_not_foreign(tmp_path: Path, left: str) -> None:
    write(tmp_path / "c", ["a"])
    (tmp_path / "c" / "manifest.json").unlink()
    (tmp_path / "c" / left).write_bytes(b"")
    with CacheWriter.open(tmp_path / "c", small_recipe(mixes=1)):
        pass
    assert FeatureCache(tmp_path / "c").extracted == {"a"}

"""What is looked through before the HDF5 library, or anything else, believes it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from builders import MakeCache, edited
from comix_fast.cache import FeatureCache
from comix_fast.cache.hdf5.structure import check_structure
from comix_fast.cache.index import read_index
from comix_fast.cache.reading import open_file, read_ids
from comix_fast.cache.stored_json import parse_json
from comix_fast.cache.surveys import Surveys
from comix_fast.errors import CacheError

ARCHIVE = Path(__file__).parents[1] / "data" / "caches" / "form-1"


def look_through(path: Path) -> None:
    with path.open("rb") as file:
        check_structure(file.fileno(), path.stat().st_size, path.name, sealed=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as made:
        made.create_group("group")["numbers"] = np.arange(12.0).reshape(3, 4)
        made["texts"] = np.array(["a", "", "ä" * 1000], dtype=h5py.string_dtype())
        made["packed"] = np.zeros((0, 3), "<f2")
        made.create_dataset("chunks", data=np.arange(700).reshape(7, 100), chunks=(2, 64), compression="gzip")
    return path


def test_what_h5py_writes_is_in_order(file: Path) -> None:
    look_through(file)
    with file.open("rb") as opened:
        structure = check_structure(opened.fileno(), file.stat().st_size, "f", sealed=True)
        assert structure.members == {"/": ["chunks", "group", "packed", "texts"], "/group": ["numbers"]}
        assert structure.shapes["/group/numbers"] == (3, 4)
        assert structure.texts("/texts") == ["a", "", "ä" * 1000]
        assert structure.texts("/chunks") is None


def test_so_are_tables_of_many_names_texts_and_chunks(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as made:
        for number in range(300):
            made[f"n{number}"] = number
        made["texts"] = np.array([f"{number}" * 50 for number in range(3000)], dtype=h5py.string_dtype())
        made.create_dataset("chunks", data=np.arange(5000), chunks=(3,), shuffle=True, fletcher32=True)
        del made["n7"], made["n200"]
    look_through(path)
    with path.open("rb") as opened:
        structure = check_structure(opened.fileno(), path.stat().st_size, "f", sealed=True)
    names = {f"n{number}" for number in range(300)} - {"n7", "n200"} | {"texts", "chunks"}
    assert set(structure.members["/"]) == names


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made.__setitem__("link", h5py.SoftLink("/texts")), "/link is a link"),
        (lambda made: made.__setitem__("link", h5py.ExternalLink("/etc/hosts", "/")), "message 2 of HDF5"),
        (lambda made: made.__setitem__("again", made["group"]), "something else does"),
        (lambda made: made["group"].__setitem__("up", made["/"]), "something else does"),
        (lambda made: made.create_dataset("far", (3,), "<f4", external=[("/etc/hosts", 0, 12)]), "message 7 of HDF5"),
        (lambda made: made.create_dataset("late", (3,), "<f4"), "should have 12 bytes, it has 0"),
        (lambda made: made.create_dataset("huge", (10**12,), "<f4", chunks=(1000,)), "0 chunks and should have"),
        (lambda made: made.create_dataset("big", (10**9,), "<f4", chunks=(1 << 25,)), "chunks of another form"),
        (lambda made: made.create_dataset("lzf", data=np.zeros(9), compression="lzf"), "packed in a way"),
        (lambda made: made.create_dataset("pair", data=np.zeros(3, "i4,f4")), "no array of numbers or texts"),
        (lambda made: made.create_dataset("ref", data=made.ref, dtype=h5py.ref_dtype), "no array of numbers or texts"),
        (lambda made: made["group"].attrs.__setitem__("n", 3), "an attribute that is not one text"),
        (lambda made: made.create_group("a/b/c/d/e"), "no group of a cache"),
        (lambda made: made.create_group("\x1b[2J"), "which is no name"),
    ],
)
def test_what_a_cache_never_holds_is_refused(file: Path, spoil: Callable[[h5py.File], None], said: str) -> None:
    with h5py.File(file, "r+") as made:
        spoil(made)
    with pytest.raises(CacheError, match=said):
        look_through(file)


@pytest.mark.parametrize("libver", ["latest", ("v110", "v110")])
def test_newer_forms_of_hdf5_say_how_to_go_back(tmp_path: Path, libver: str) -> None:
    with h5py.File(tmp_path / "f.h5", "w", libver=libver) as made:
        made["a"] = 1
    with pytest.raises(CacheError, match="h5repack"):
        look_through(tmp_path / "f.h5")


@pytest.mark.parametrize("at", [0, 8, 24, 40, 48, 64, 80, 96])
def test_a_number_of_the_beginning_that_is_changed_is_noticed(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at : at + 4] = (int.from_bytes(content[at : at + 4], "little") ^ 0x7FFF_F0F0).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(CacheError, match="can't be read as HDF5"):
        look_through(file)


def test_two_things_in_one_place_are_noticed(file: Path) -> None:
    with h5py.File(file, "r") as made:
        one, other = made["group/numbers"].id.get_offset(), made["texts"].id.get_offset()
    content = file.read_bytes()
    assert content.count(one.to_bytes(8, "little")) == 1
    file.write_bytes(content.replace(one.to_bytes(8, "little"), (other - 8).to_bytes(8, "little")))
    with pytest.raises(CacheError, match=r"two things share byte|something else does"):
        look_through(file)


@pytest.mark.parametrize("shard", sorted((ARCHIVE / "shards").iterdir()), ids=lambda path: path.stem)
def test_the_index_is_what_hdf5_reads(shard: Path) -> None:
    index = read_index(shard)
    with open_file(shard, "comix-shard") as file:
        assert [*index.ids] == read_ids(file, "")
        assert [*index.views] == [*file["views"]]
        assert (index.key, index.domain, index.made_with) == (file.attrs["key"], file.attrs["domain"], None)


def test_features_repacked_big_endian_come_out_as_all_others(make_cache: MakeCache) -> None:
    root = make_cache(mixes=0)
    video = sorted(FeatureCache(root).extracted)[0]
    before = FeatureCache(root).features(video)
    with edited(FeatureCache(root).place(video)[0]) as file:
        values, marks = file["views/plain/features"][...], dict(file["views/plain/features"].attrs)
        del file["views/plain/features"]
        file.create_dataset("views/plain/features", data=values, dtype=">f2").attrs.update(marks)
    after = FeatureCache(root).features(video)
    assert after.dtype == np.float16 and after.dtype.isnative
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", ["manifest.json", "dataset.json", "shards", "shards/*"])
@pytest.mark.parametrize("way", ["link", "pipe"])
def test_links_and_pipes_inside_a_cache_are_refused(make_cache: MakeCache, name: str, way: str) -> None:
    root = make_cache(mixes=0)
    path = next(root.glob(name))
    away = root.parent / "away"
    path.rename(away)
    path.symlink_to(away) if way == "link" else os.mkfifo(path)
    with pytest.raises(CacheError, match=path.name):
        FeatureCache(root)


def test_a_whole_cache_may_be_a_link(make_cache: MakeCache) -> None:
    root = make_cache(mixes=0)
    (root.parent / "link").symlink_to(root)
    assert FeatureCache(root.parent / "link").extracted == FeatureCache(root).extracted


def test_views_that_the_recipe_has_not_are_refused(make_cache: MakeCache) -> None:
    root = make_cache(mixes=0)
    with edited(next((root / "shards").iterdir())) as file:
        file["views"].move("plain", "speed-9")
    with pytest.raises(CacheError, match="views that the recipe has not: speed-9"):
        FeatureCache(root)


def test_backgrounds_of_another_number_are_refused(tmp_path: Path) -> None:
    source = next((ARCHIVE / "surveys").iterdir())
    path = tmp_path / "surveys" / source.name
    path.parent.mkdir()
    path.write_bytes(source.read_bytes())
    key = json.loads((ARCHIVE / "manifest.json").read_text())["key"]
    surveys = Surveys(tmp_path, key)
    video = next(iter(surveys.rows))
    assert surveys.background(video).shape == (224, 224, 3)
    with h5py.File(path, "r+") as file:
        marks = dict(file["backgrounds"].attrs)
        del file["backgrounds"]
        file.create_dataset("backgrounds", data=np.zeros((len(surveys.rows) + 1, 8, 8, 3), "u1")).attrs.update(marks)
    with pytest.raises(CacheError, match="/backgrounds has the shape"):
        Surveys(tmp_path, key).background(video)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 1}', "names a thing twice"),
        (b"[NaN]", "no number of JSON"),
        (b"[1e999]", "no number of this computer"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b"[" * 40 + b"]" * 40, "nested too deep"),
        (b"[" * 10**6, "nested too deep"),
        (b"\xff", "can't decode"),
        (b"[" + b"1" * 5000 + b"]", "4300 digits"),
    ],
)
def test_json_that_we_never_write_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_whole_characters_spelled_as_escapes_are_read() -> None:
    assert parse_json(b'["\\ud83d\\ude00", [[[]]], 1.5, {"a": {}}]') == ["\U0001f600", [[[]]], 1.5, {"a": {}}]

"""A cache in one file: the same bits, whatever the shards; cut, flipped, cramped, and read with h5py alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from builders import MakeCache, edited, small_recipe, write_large
from comix_fast.cache import CacheWriter, FeatureCache, compact_file
from comix_fast.cache.compact import compact
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.layout import lay_out
from comix_fast.cache.rows import MappedRows
from comix_fast.cache.seal import check_whole, read_seal
from comix_fast.errors import CacheError

TRAIN = ["source/d", "source/a ä", "source/c"]
TEST = ["source/t", "source/b"]
TARGET = ["target/z", "target/y"]


def clips(video: str, view: str, donor: str | None = None) -> ViewClips:
    rng = np.random.default_rng(list(f"{video} {view}".encode()))
    features = rng.normal(size=(2 + len(video) % 3 if donor is None else 2, 5)).astype(np.float16)
    return ViewClips(features, 4 * np.arange(len(features)), donor, None if donor is None else 0.25)


def write(root: Path, shards: Sequence[Sequence[str]], unlisted: Sequence[str] = ()) -> Path:
    with CacheWriter.open(root, small_recipe(mixes=1), ["a warning"], made_with={"torch": "1"}) as cache:
        for ids in shards:
            with cache.shard(ids[0].split("/")[0]) as shard:
                for video in ids:
                    views = {"plain": clips(video, "plain")}
                    if video not in (*TEST, *unlisted):
                        views["bgmix-0"] = clips(video, "bgmix-0", TARGET[0])
                    n_frames, label = 70 + len(video), None if video in TARGET else 1
                    row = VideoRow(video, -1 if label is None else label, n_frames, float("nan"), video[-1] * 64, 9)
                    shard.add(row, views)
        lists = {
            "source": {"name": "s", "train": [[v, 1] for v in TRAIN], "test": [[v, 0] for v in TEST]},
            "target": {"name": "t", "train": [[v, None] for v in TARGET], "test": None},
        }
        cache.write_dataset({"name": "d", "classes": ["one", "two"], "notes": ["a note"], **lists})
        cache.write_failures([{"id": "source/lost", "path": "/lost.mp4", "reason": "gone"}])
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "c", [TRAIN[:2], TRAIN[2:], TEST, TARGET])


@pytest.fixture
def file(folder: Path, tmp_path: Path) -> Path:
    return compact(folder, tmp_path / "c.h5").path


def test_it_gives_what_the_folder_gives(folder: Path, file: Path) -> None:
    one, other = FeatureCache(folder), FeatureCache(file)
    assert other.extracted == one.extracted == {*TRAIN, *TEST, *TARGET}
    assert (other.key, other.recipe, other.classes, other.names) == (one.key, one.recipe, one.classes, one.names)
    assert (other.notes, other.warnings, other.failures()) == (one.notes, one.warnings, one.failures())
    for domain in ("source", "target"):
        assert other.has_test(domain) == one.has_test(domain) and other.n_missing(domain) == 0
        for split in ("train", "test"):
            assert other.videos(domain, split) == one.videos(domain, split)
    for video in one.extracted:
        assert str(other.row(video)) == str(one.row(video)) and other.domain(video) == one.domain(video)
        assert set(other.views(video)) == set(one.views(video))
        for view in one.views(video):
            expected, found = one.clips(video, view), other.clips(video, view)
            written = clips(video, view, None if view == "plain" else TARGET[0])
            assert found.features.tobytes() == expected.features.tobytes() == written.features.tobytes()
            assert found.starts.tolist() == expected.starts.tolist()
            assert (found.donor, found.gamma) == (expected.donor, expected.gamma)
    ours, theirs = one.summary(), other.summary()
    assert (theirs.clips, theirs.listed, theirs.extracted) == (ours.clips, ours.listed, ours.extracted)
    assert (theirs.n_shards, theirs.n_bytes) == (1, file.stat().st_size)


def test_rows_left_in_the_file_are_the_same(folder: Path, file: Path) -> None:
    wanted = [TRAIN[1], TARGET[1], TARGET[0], TRAIN[0]]
    found = []
    for path in (folder, file):
        cache = FeatureCache(path)
        for layout in lay_out(cache, wanted, ["plain", "bgmix-0"]):
            rows = MappedRows(layout.stretches, layout.dim)
            spans = zip(layout.first.tolist(), layout.count.tolist(), strict=True)
            found.append([rows.read(first, first + count).numpy().tobytes() for first, count in spans])
    assert found[:2] == found[2:]
    with pytest.raises(CacheError, match=r"(?s)source/t has no view 'bgmix-0'.*it has plain"):
        lay_out(FeatureCache(file), [*TRAIN, *TEST], ["bgmix-0"])


def test_it_does_not_depend_on_the_shards(file: Path, tmp_path: Path) -> None:
    shards = [[TRAIN[2], TRAIN[0]], TARGET[::-1], [TRAIN[1]], [TEST[1]], [TEST[0]]]
    other = compact(write(tmp_path / "d", shards), tmp_path / "d.h5")
    assert other.path.read_bytes() == file.read_bytes()
    again = compact(file, tmp_path / "e.h5")
    assert again.path.read_bytes() == file.read_bytes()


def test_videos_stand_by_domain_then_list_then_name(tmp_path: Path) -> None:
    shards = [["target/y", "target/z"], ["target/x"], ["source/n", *TEST], ["source/m"], TRAIN]
    root = write(tmp_path / "d", shards, unlisted=["source/n", "source/m", "target/x"])
    with h5py.File(compact(root, tmp_path / "d.h5").path) as file:
        order = file["videos/id"].asstr()[:].tolist()
        gamma = file["views/bgmix-0/gamma"][:]
        donor = file["views/bgmix-0/donor"].asstr()[:].tolist()
    assert order == [*TRAIN, *TEST, "source/m", "source/n", *TARGET, "target/x"]
    mixed = [video in (*TRAIN, *TARGET) for video in order]
    assert [not np.isnan(value) for value in gamma] == mixed
    assert donor == [TARGET[0] if one else "" for one in mixed]


def test_h5py_alone_reads_it_as_it_says(file: Path) -> None:
    with h5py.File(file) as opened:
        how = opened.attrs["how-to-read"]
    assert how.count("\n") == 5
    names: dict[str, object] = {"FILE": file, "ID": "source/c"}
    exec(how, names)
    expected = clips("source/c", "plain")
    np.testing.assert_array_equal(names["features"], expected.features)  # type: ignore[arg-type]
    np.testing.assert_array_equal(names["starts"], expected.starts)  # type: ignore[arg-type]
    assert names["lists"]["source"]["train"] == [[video, 1] for video in TRAIN]  # type: ignore[index]
    names["f"].close()  # type: ignore[attr-defined]


def test_every_element_says_what_it_is_and_the_seal_holds(file: Path) -> None:
    bare: list[str] = []
    with h5py.File(file) as opened:
        opened.visititems(lambda name, element: bare.append(name) if "encoding-type" not in element.attrs else None)
        assert opened.attrs["encoding-type"] == "comix-compact"
        assert json.loads(opened.attrs["made-with"]) == ['{"torch": "1"}']
    assert bare == []
    seal = check_whole(file)
    assert seal is not None and len(seal.features) == 2


def test_lists_of_any_length_are_kept(make_cache: MakeCache, tmp_path: Path) -> None:
    root = make_cache(per_class=2)
    with CacheWriter.open(root, small_recipe(2)) as cache:
        lists = dict(FeatureCache(root).dataset)
        lists["notes"] = ["ü" * 300_000]
        cache.write_dataset({name: lists[name] for name in ("name", "classes", "notes", "source", "target")})
    assert FeatureCache(compact(root, tmp_path / "c.h5").path).notes == ("ü" * 300_000,)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_named(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CacheError, match=r"c\.h5 can't be read as HDF5|c\.h5 has no seal|c\.h5 holds no feature cache"):
        FeatureCache(file)


def test_every_flipped_bit_is_an_error_when_it_is_read(file: Path) -> None:
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    with file.open("rb") as opened:
        seal = read_seal(opened, "")
    assert seal is not None
    inside = [first + int(rng.integers(count)) for first, count in seal.features for _ in range(20)]
    for at in [*rng.choice(len(content), 200, replace=False), *inside]:
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(flipped)
        with pytest.raises(CacheError, match=r"c\.h5"):
            cache = FeatureCache(file)
            for video in sorted(cache.extracted):
                for view in cache.views(video):
                    cache.clips(video, view)


def test_newer_and_foreign_files_are_named(folder: Path, file: Path) -> None:
    (shard, *_) = sorted((folder / "shards").iterdir())
    with pytest.raises(CacheError, match="is not a comix-compact but 'comix-shard'"):
        FeatureCache(shard)
    with edited(file) as opened:
        opened.attrs["encoding-version"] = "2"
    with pytest.raises(CacheError, match=r"(?s)has the form comix-compact 2, this comix-fast reads 1.*update"):
        FeatureCache(file)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("manifest", "{", "/manifest can't be read"),
        ("manifest", "[]", "/manifest does not hold a comix-cache"),
        ("dataset", '{"encoding-type": "comix-dataset", "encoding-version": "9"}', "update comix-fast"),
        ("dataset", '{"encoding-type": "comix-dataset", "encoding-version": "2"}', "no list of texts"),
        ("failures", '{"encoding-type": "comix-failures", "encoding-version": "1"}', "no list of failures"),
    ],
)
def test_forged_text_is_an_error_of_ours(file: Path, name: str, value: str, said: str) -> None:
    with edited(file) as opened:
        opened[name][()] = value
    with pytest.raises(CacheError, match=said):
        FeatureCache(file)


def test_a_file_that_changes_while_it_is_open_is_noticed(file: Path) -> None:
    cache = FeatureCache(file)
    with edited(file) as opened:
        opened["views/plain/features"][0] = 7
    with pytest.raises(CacheError, match="has changed since it was opened"):
        cache.features("source/c")


def test_its_structure_is_hashed_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    through = compact_file.open_file
    monkeypatch.setattr(compact_file, "open_file", lambda path, form: opened.append(path) or through(path, form))  # type: ignore[func-returns-value]
    cache = FeatureCache(file)
    for video in sorted(cache.extracted):
        cache.clips(video)
    lay_out(cache, TRAIN, ["plain"])
    assert opened == [file]


def test_what_is_there_is_replaced_only_if_asked(folder: Path, file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    (tmp_path / "other").write_bytes(b"mine")
    for path, said in ((file, "exists"), (tmp_path / "other", "exists"), (tmp_path, "is a folder")):
        with pytest.raises(CacheError, match=said):
            compact(folder, path)
    with pytest.raises(CacheError, match="is inside the cache"):
        compact(folder, folder / "shards" / "all.h5", force=True)
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert compact(folder, tmp_path / "other", force=True).path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.h5", "other"]


def test_nothing_is_added_to_it(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(CacheError, match=r"c\.h5 is a file, not a folder"), CacheWriter.open(file, small_recipe(1)):
        pass
    assert file.read_bytes() == before


def test_a_damaged_row_ends_it(folder: Path, tmp_path: Path) -> None:
    (shard, *_) = sorted((folder / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    with shard.open("rb") as opened:
        seal = read_seal(opened, "")
    assert seal is not None
    content[seal.features[0][0]] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CacheError, match=f"{shard.name}, view .*not what was written"):
        compact(folder, tmp_path / "c.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_small_disk_is_told_before_anything_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(CacheError, match=r"c\.h5 finds no room: it takes [\d,]+ bytes, 100 are free"):
        compact(folder, tmp_path / "c.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


LIMITED = """
import resource, sys
from pathlib import Path
from comix_fast.cache.compact import compact
from comix_fast.errors import CacheError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    compact(Path(sys.argv[1]), Path(sys.argv[2]))
except CacheError as error:
    print(error)
"""


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_disk_that_fills_leaves_nothing(make_cache: MakeCache, tmp_path: Path, share: float) -> None:
    root = make_cache(dim=64)
    size = compact(root, tmp_path / "whole.h5").n_bytes
    words = [sys.executable, "-c", LIMITED, root, tmp_path / "c.h5", str(int(share * size))]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "c.h5 can't be written: file too large" in ended.stdout, ended
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "whole.h5"]


def test_what_a_killed_one_left_is_swept(folder: Path, tmp_path: Path) -> None:
    leftover = tmp_path / ".compact-c.h5.xyz.partial"
    leftover.write_bytes(b"half a file")
    compact(folder, tmp_path / "c.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.h5"]


def test_memory_is_bounded_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comix_fast.cache.flat.PIECE_BYTES", 1 << 18)
    write_large(tmp_path / "c")
    tracemalloc.start()
    try:
        done = compact(tmp_path / "c", tmp_path / "c.h5")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.n_bytes > 24 << 20 and peak < 8 << 20

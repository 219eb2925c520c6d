"""Plain arrays of a cache: the same numbers in either form, named after lists and views alone, whole or absent."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file

from builders import MakeCache, edited, small_recipe, write_large
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache import export as module
from comix_fast.cache.compact import compact
from comix_fast.cache.export import Form, export
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.errors import CacheError

LABELS = [0, None, 2, 1, None, 0]


@pytest.fixture
def cache(make_cache: MakeCache) -> Path:
    return make_cache(per_class=2, dim=6, test=True, target_labels=LABELS)


def loaded(folder: Path, form: str) -> dict[str, np.ndarray]:
    if form == "safetensors":
        return dict(load_file(folder / "arrays.safetensors"))
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("compacted", [False, True])
def test_the_numbers_are_those_of_the_cache(cache: Path, tmp_path: Path, form: Form, compacted: bool) -> None:
    root = compact(cache, tmp_path / "c.h5").path if compacted else cache
    done, held = export(root, tmp_path / "out", form=form), FeatureCache(cache)
    lists = ("source-train", "source-test", "target-train", "target-test")
    expected = [f"{name}/plain" for name in lists]
    expected += [f"{name}/bgmix-{draw}" for name in lists[::2] for draw in range(2)]
    assert sorted(one.folder.as_posix() for one in done.arrays) == sorted(expected)
    for one in done.arrays:
        arrays = loaded(tmp_path / "out" / one.folder, form)
        types = {name: values.dtype.str for name, values in arrays.items()}
        assert types == {"features": "<f2", "starts": "<i8", "offsets": "<i8", "labels": "<i8"}
        videos = held.videos(one.domain, one.split)
        assert arrays["labels"].tolist() == [-1 if video.label is None else video.label for video in videos]
        with (tmp_path / "out" / one.folder / "index.csv").open(newline="", encoding="utf-8") as file:
            index = list(csv.DictReader(file))
        assert len(index) == len(videos) == len(arrays["offsets"]) - 1 == one.n_videos
        assert len(arrays["features"]) == len(arrays["starts"]) == arrays["offsets"][-1] == one.n_rows
        for number, (video, line) in enumerate(zip(videos, index, strict=True)):
            rows = slice(*arrays["offsets"][number : number + 2])
            clips, known = held.clips(video.id, one.view), held.row(video.id)
            assert arrays["features"][rows].tobytes() == clips.features.tobytes()
            assert arrays["starts"][rows].tolist() == clips.starts.tolist()
            assert line == {
                "id": video.id,
                "label": str(-1 if video.label is None else video.label),
                "class_name": "" if video.label is None else held.classes[video.label],
                "first_row": str(rows.start),
                "n_rows": str(len(clips.starts)),
                "n_frames": str(known.n_frames),
                "fps": "25.0",
                "donor": clips.donor or "",
                "gamma": "" if clips.gamma is None else repr(clips.gamma),
            }
    said = json.loads((tmp_path / "out" / "cache.json").read_text())
    assert (said["key"], said["recipe"], tuple(said["classes"])) == (held.key, held.recipe, held.classes)
    assert said["arrays"].keys() == set(expected)
    assert done.n_bytes == sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("form", get_args(Form))
def test_the_readme_reads_them(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    export(cache, tmp_path / "out", form=form)
    text = (tmp_path / "out" / "README.txt").read_text()
    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, object] = {}
    exec("\n".join(line[4:] for line in text.split("To read them:")[1].splitlines()), names)
    first = FeatureCache(cache).videos("source", "train")[0].id
    np.testing.assert_array_equal(names["video"], FeatureCache(cache).features(first))  # type: ignore[arg-type]
    assert "source-train/bgmix-1" in text and max(map(len, text.splitlines())) <= 120


def test_views_and_splits_are_chosen(cache: Path, tmp_path: Path) -> None:
    done = export(cache, tmp_path / "out", views=["bgmix-1", "plain"], splits=["test"])
    assert [one.folder.as_posix() for one in done.arrays] == ["source-test/plain", "target-test/plain"]
    with pytest.raises(CacheError, match=r"(?s)no video has a view speed-2.*there are plain, bgmix-0, bgmix-1"):
        export(cache, tmp_path / "a", views=["speed-2"])
    with pytest.raises(CacheError, match=r"(?s)no split validation.*there are train and test"):
        export(cache, tmp_path / "a", splits=["validation"])
    with pytest.raises(CacheError, match="no features of these lists and views"):
        export(cache, tmp_path / "a", views=[])
    assert not (tmp_path / "a").exists()


def test_names_of_videos_are_never_paths(tmp_path: Path) -> None:
    ids = ["../../outside", "/etc/passwd", 'a\nb,"c"', "=1+1", "con.npy"]
    with CacheWriter.open(tmp_path / "c", small_recipe(0)) as cache:
        with cache.shard("source") as shard:
            for video in ids:
                clips = ViewClips(np.ones((1, 2), np.float16), np.zeros(1, np.int64))
                shard.add(VideoRow(video, 0, 72, float("nan"), "0" * 64, 1), {"plain": clips})
        domain = {"name": "../n", "train": [[video, 0] for video in ids], "test": None}
        lists = {"source": domain, "target": {**domain, "train": []}}
        cache.write_dataset({"name": "../d", "classes": ["../ü"], "notes": [], **lists})
    export(tmp_path / "c", tmp_path / "out")
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    arrays = [f"source-train/plain/{name}.npy" for name in ("features", "labels", "offsets", "starts")]
    assert files == ["README.txt", "cache.json", *arrays[:1], "source-train/plain/index.csv", *arrays[1:]]
    with (tmp_path / "out/source-train/plain/index.csv").open(newline="", encoding="utf-8") as file:
        index = list(csv.DictReader(file))
    assert [line["id"] for line in index] == ids
    assert (index[0]["fps"], index[0]["class_name"]) == ("", "../ü")


def test_a_view_that_is_no_name_is_refused(cache: Path, tmp_path: Path) -> None:
    for shard in (cache / "shards").iterdir():
        with edited(shard) as file:
            file["views"].move("plain", "..plain")
    with pytest.raises(CacheError, match=r"a view '\.\.plain', which is no name"):
        export(cache, tmp_path / "out")


def test_other_things_are_left_alone(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"mine")
    with pytest.raises(CacheError, match=r"out is not empty \(mine\)"):
        export(cache, tmp_path / "out")
    with pytest.raises(CacheError, match="is a file"):
        export(cache, tmp_path / "out" / "mine")
    with pytest.raises(CacheError, match="is inside the cache"):
        export(cache, cache / "npy")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_it_is_there_whole_or_not_at_all(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "readme", interrupted)
        export(cache, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # What a killed one leaves is ours, and makes way.
    (tmp_path / "out" / module.PARTIAL / "source-train").mkdir(parents=True)
    export(cache, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.txt",
        "cache.json",
        "source-train",
        "source-test",
        "target-train",
        "target-test",
    }


LIMITED = """
import resource, sys
from pathlib import Path
from comix_fast.cache.export import export
from comix_fast.errors import CacheError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    export(Path(sys.argv[1]), Path(sys.argv[2]), form=sys.argv[3])
except CacheError as error:
    print(error)
"""


@pytest.mark.parametrize(("form", "share"), [("npy", 0.5), ("safetensors", 0.5), ("safetensors", 1.0)])
def test_a_disk_that_fills_leaves_nothing(make_cache: MakeCache, tmp_path: Path, form: Form, share: float) -> None:
    cache = make_cache(dim=128)
    export(cache, tmp_path / "whole")
    # With room for the largest .npy file there is none for the tensors, which are more than the features.
    limit = int(share * max(path.stat().st_size for path in (tmp_path / "whole").rglob("*.npy")))
    words = [sys.executable, "-c", LIMITED, cache, tmp_path / "out", form, str(limit)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "out can't be written: " in ended.stdout, ended
    assert "file too large" in ended.stdout.lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "whole"]


def test_memory_is_bounded_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comix_fast.cache.flat.PIECE_BYTES", 1 << 18)
    write_large(tmp_path / "c")
    for root in (tmp_path / "c", compact(tmp_path / "c", tmp_path / "c.h5").path):
        tracemalloc.start()
        try:
            done = export(root, tmp_path / f"{root.name}-npy")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert done.n_bytes > 24 << 20 and peak < 8 << 20
    assert (tmp_path / "c-npy/source-train/plain/features.npy").stat().st_size == 128 + 24 * 4096 * 256

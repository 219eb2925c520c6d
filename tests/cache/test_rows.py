"""Feature rows: loaded or mapped, whatever the order and the shards' state, the same bytes come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from builders import edited, small_recipe
from comix_fast.cache import CacheWriter, FeatureCache, rows
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.layout import Layout, lay_out
from comix_fast.cache.rows import MappedRows
from comix_fast.errors import CacheError

DIM = 6
# Video by video, shard by shard: clips in each.
SHARDS = ((3, 1, 4), (2,), (5, 2))


def features(video: int, n_clips: int) -> np.ndarray:
    """Every number says where it belongs."""
    clip, place = np.mgrid[:n_clips, :DIM]
    return (100 * video + 10 * clip + place).astype(np.float16)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    ids = []
    with CacheWriter.open(tmp_path / "c", small_recipe(mixes=0)) as writer:
        for counts in SHARDS:
            with writer.shard("source") as shard:
                for n_clips in counts:
                    ids.append(f"v{len(ids)}")
                    clips = ViewClips(features(len(ids) - 1, n_clips), 4 * np.arange(n_clips))
                    shard.add(VideoRow(ids[-1], 0, 72, 25.0, "0" * 64, 1), {"plain": clips})
        domain = {"name": "d", "train": [[video, 0] for video in ids], "test": None}
        writer.write_dataset({"classes": ["one"], "notes": [], "source": domain, "target": domain})
    return FeatureCache(tmp_path / "c")


def laid_out(cache: FeatureCache, *videos: int) -> Layout:
    (layout,) = lay_out(cache, [f"v{video}" for video in videos], ["plain"])
    return layout


def mapped(layout: Layout) -> MappedRows:
    return MappedRows(layout.stretches, layout.dim)


def loaded(layout: Layout) -> rows.Rows:
    return mapped(layout).load(lambda done: None)


def shard_of(cache: FeatureCache, video: str) -> Path:
    return cache.place(video)[0]


@pytest.mark.parametrize("videos", [(0, 1, 2, 3, 4, 5), (5, 0, 3, 2, 4, 1), (4,), (2, 0), (0, 2, 0, 5)])
def test_each_videos_rows_are_where_the_layout_says(cache: FeatureCache, videos: tuple[int, ...]) -> None:
    layout = laid_out(cache, *videos)
    for form in (loaded(layout), mapped(layout)):
        assert (len(form), form.dim) == (sum(cache.features(f"v{v}").shape[0] for v in set(videos)), DIM)
        for video, first, count in zip(videos, layout.first.tolist(), layout.count.tolist(), strict=True):
            expected = cache.features(f"v{video}")
            np.testing.assert_array_equal(form.take(torch.arange(first, first + count)).numpy(), expected)
            np.testing.assert_array_equal(form.read(first, first + count).numpy(), expected)
            np.testing.assert_array_equal(layout.starts[first : first + count], 4 * np.arange(count))


def test_videos_side_by_side_are_one_stretch(cache: FeatureCache) -> None:
    assert len(laid_out(cache, 5, 4, 3, 2, 1, 0).stretches) == len(SHARDS)
    assert [s.count for s in laid_out(cache, 2, 0).stretches] == [3, 4]


@pytest.mark.parametrize("piece_bytes", [1, 5 * DIM, 10_000])
def test_both_forms_give_the_same_bytes_in_any_order(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, piece_bytes: int, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(rows, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(rows, "OPEN_PIECES", 2)
    layout = laid_out(cache, *range(6))
    memory, files = loaded(layout), mapped(layout)
    for shape in ((40,), (2, 3, 5), (1,), (0,), (3, 0), ()):
        index = torch.from_numpy(np.asarray(rng.integers(len(memory), size=shape)))
        assert torch.equal(files.take(index), memory.take(index))
        assert files.take(index).shape == (*shape, DIM)
        assert files.take(index).dtype == torch.float16
    for first in range(len(memory)):
        for last in range(first, len(memory) + 1):
            assert torch.equal(files.read(first, last), memory.read(first, last))


def test_mapped_pieces_are_let_go(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PIECE_BYTES", 1)
    monkeypatch.setattr(rows, "OPEN_PIECES", 3)
    files = mapped(laid_out(cache, *range(6)))

    def n_maps() -> int:
        return sum(str(cache.path) in line for line in Path("/proc/self/maps").read_text().splitlines())

    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    before = n_maps()
    files.take(torch.arange(len(files)))
    assert n_maps() - before == 3


@pytest.mark.parametrize("index", [-1, 17])
def test_rows_that_are_not_there_are_refused(cache: FeatureCache, index: int) -> None:
    layout = laid_out(cache, *range(6))
    for form in (loaded(layout), mapped(layout)):
        with pytest.raises(IndexError):
            form.take(torch.tensor([0, index]))


@pytest.mark.parametrize("storage", [{"chunks": (2, DIM), "compression": "gzip"}, {"dtype": ">f2"}])
def test_repacked_shards_are_read_through_hdf5(cache: FeatureCache, storage: dict[str, object]) -> None:
    before = loaded(laid_out(cache, *range(6))).read(0, 17)
    with edited(shard_of(cache, "v1")) as file:
        group = file["views/plain"]
        values, marks = group["features"][...], dict(group["features"].attrs)
        del group["features"]
        group.create_dataset("features", data=values, **storage).attrs.update(marks)
    layout = laid_out(cache, *range(6))
    assert sum(stretch.first_byte is None for stretch in layout.stretches) == 1
    order = torch.tensor([16, 3, 3, 0, 9, 5])
    for form in (loaded(layout), mapped(layout)):
        assert torch.equal(form.take(order), before[order])
        assert torch.equal(form.read(0, 17), before)


def test_a_shard_cut_after_it_was_opened_is_named(cache: FeatureCache) -> None:
    layout, path = laid_out(cache, *range(6)), shard_of(cache, "v4")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CacheError, match=rf"(?s){path.name} ends before its features do.*run extract again"):
        loaded(layout)
    with pytest.raises(CacheError, match=rf"{path.name} can't be mapped"):
        mapped(layout).take(torch.arange(17))
    path.unlink()
    with pytest.raises(CacheError, match=rf"{path.name} can't be read"):
        mapped(layout).read(0, 17)


def test_shards_of_different_lengths_are_refused(cache: FeatureCache) -> None:
    with edited(shard_of(cache, "v3")) as file:
        group = file["views/plain"]
        values, marks = group["features"][...], dict(group["features"].attrs)
        del group["features"]
        group.create_dataset("features", data=values[:, :-1]).attrs.update(marks)
    with pytest.raises(CacheError, match=r"(?s)features of different lengths.*5 numbers a clip in source-"):
        laid_out(cache, *range(6))


@pytest.mark.parametrize("values", [np.zeros((2, DIM), np.float32), np.zeros(2, np.float16)])
def test_features_of_another_kind_are_refused(cache: FeatureCache, values: np.ndarray) -> None:
    with edited(shard_of(cache, "v3")) as file:
        group = file["views/plain"]
        marks = dict(group["features"].attrs)
        del group["features"]
        group.create_dataset("features", data=values).attrs.update(marks)
    with pytest.raises(CacheError, match="/views/plain has arrays that do not fit together"):
        laid_out(cache, 3)


def test_what_is_not_there_is_named(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="no video 'v9'"):
        laid_out(cache, 0, 9)
    with pytest.raises(CacheError, match="v0 has no view 'bgmix-0'"):
        lay_out(cache, ["v0"], ["plain", "bgmix-0"])


def test_a_file_that_is_another_one_by_now_is_checked_again(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "OPEN_PIECES", 1)
    taken = mapped(laid_out(cache, *range(6)))
    every = torch.arange(len(taken))
    taken.take(every)
    path = shard_of(cache, "v1")
    content = bytearray(path.read_bytes())
    content[cache.tables(path, ["plain"])[0].first_byte or 0] ^= 1
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)
    with pytest.raises(CacheError, match="are not what was written"):
        taken.take(every)

"""Videos extracted again are what the cache holds, to the byte; what has changed, there or in a film, is told."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import WriteVideo, edited, small_recipe
from comix_fast.cache import FeatureCache
from comix_fast.cache.compact import compact
from comix_fast.cache.crc import row_crc32
from comix_fast.cache.verify import verify
from comix_fast.config import ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.errors import CacheError
from comix_fast.stages import extract
from comix_fast.stages.agreement import SAME_ARITHMETIC, match_backgrounds, match_features
from comix_fast.stages.draws import draw_mix
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.recompute import Recomputed, recompute
from comix_fast.video import Decoder, choose_decoder

SIZE = 32
PYAV = choose_decoder("pyav")


class Columns(nn.Module):
    """Stands for a backbone: four columns of each frame, averaged. `factor` is its only weight."""

    name = "columns"
    feature_dim = 32
    warning = ""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, clips: Tensor) -> Tensor:
        return self.factor * clips[:, :, :, :, 3::8].mean(dim=(1, 3)).flatten(1)


RECIPE = small_recipe(
    views=ViewPlan((2,), mixes=2, seed=3),
    batch_size=4,
    size=SIZE,
    decoder={"name": PYAV.name, "version": PYAV.version},
)


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    for number, (domain, name, n_frames) in enumerate(
        (domain, f"{kind}/{video}.mp4", n_frames)
        for domain in ("a", "b")
        for kind, video, n_frames in (("go", 1, 76), ("go", 2, 20), ("stop", 1, 90))
    ):
        film(tmp_path / domain / name, n_frames, seed=number)
    return check_files(load_folders(tmp_path / "a", tmp_path / "b"))


@pytest.fixture
def cache(dataset: Dataset, tmp_path: Path) -> Path:
    out = tmp_path / "cache"
    extract.run(RECIPE, dataset, Columns(), PYAV, out, reporter=Silent(), shard_size=4)  # type: ignore[arg-type]
    assert verify(out, Silent(), draw_mix).sound
    return out


def again(cache: Path, dataset: Dataset, n_videos: int = 6, decoder: Decoder = PYAV, factor: float = 1.0) -> Recomputed:
    machine = Machine(Columns(factor), decoder, torch.device("cpu"), 1)  # type: ignore[arg-type]
    return recompute(FeatureCache(cache), dataset, machine, n_videos=n_videos, seed=1, reporter=Silent())


def test_every_byte_comes_out_again(cache: Path, dataset: Dataset) -> None:
    done = again(cache, dataset)
    assert done.agrees
    assert done.notes == ()
    assert {one.video for one in done.videos} == {video.id for video in dataset.videos()}
    for one in done.videos:
        assert one.verdict == "identical"
        assert [match.what for match in one.matches] == ["file", "background", "plain", "speed-2", "bgmix-0", "bgmix-1"]


def test_which_videos_is_decided_by_the_seed(cache: Path, dataset: Dataset) -> None:
    chosen = [one.video for one in again(cache, dataset, 2).videos]
    assert len(set(chosen)) == 2
    assert [one.video for one in again(cache, dataset, 2).videos] == chosen


def test_a_forged_row_is_found_by_computing_alone(cache: Path, dataset: Dataset) -> None:
    (place, row) = FeatureCache(cache).place("a/go/1.mp4")
    with edited(place) as file:
        group = file["views/bgmix-1"]
        first = int(group["offsets"][row])
        group["features"][first + 2, 5] += np.float16(0.25)
        group["crc32"][...] = row_crc32(group["features"][...])
    assert verify(cache, Silent(), draw_mix).sound
    done = again(cache, dataset)
    assert not done.agrees
    ((video, match),) = [(one.video, m) for one in done.videos for m in one.matches if m.verdict != "identical"]
    assert (video, match.what, match.verdict, match.reason) == (
        "a/go/1.mp4",
        "bgmix-1",
        "different",
        "1 of 16 clips differ",
    )
    assert match.largest == pytest.approx(0.25, abs=1e-3)


def test_rounding_is_told_and_is_no_damage(cache: Path, dataset: Dataset) -> None:
    done = again(cache, dataset, factor=1.0008)
    assert done.agrees
    for one in done.videos:
        assert one.verdict == "rounding"
        views = {match.what: match for match in one.matches}
        assert views["file"].verdict == views["background"].verdict == "identical"
        assert 0 < views["plain"].largest < 2e-3
        assert views["plain"].cosine > 0.99999


def test_other_weights_are_other_features(cache: Path, dataset: Dataset) -> None:
    done = again(cache, dataset, 1, factor=1.2)
    assert not done.agrees


def test_another_film_is_told_apart(cache: Path, dataset: Dataset, film: WriteVideo, tmp_path: Path) -> None:
    film(tmp_path / "a" / "go" / "1.mp4", 76, seed=9)
    film(tmp_path / "b" / "go" / "2.mp4", 21, seed=4)
    (tmp_path / "b" / "stop" / "1.mp4").write_bytes(b"no film")
    found = {one.video: one for one in again(cache, dataset).videos}
    other, longer, none = (found[name] for name in ("a/go/1.mp4", "b/go/2.mp4", "b/stop/1.mp4"))
    assert {one.verdict for one in (other, longer, none)} == {"different"}
    assert "another file: its sha256 is not that of the one extracted" in other.matches[0].reason
    assert {match.what for match in other.matches if match.verdict == "different"} >= {"file", "background", "plain"}
    assert "20 frames then, 21 now" in longer.matches[0].reason
    assert len(none.matches) == 1
    assert {one.verdict for one in found.values() if one not in (other, longer, none)} == {"identical"}


def test_a_forged_background_is_found(cache: Path, dataset: Dataset) -> None:
    for path in (cache / "surveys").iterdir():
        with edited(path) as file:
            file["backgrounds"][0, 3, 3] = 255 - file["backgrounds"][0, 3, 3]
    done = again(cache, dataset)
    differ = [one.video for one in done.videos if {m.what: m for m in one.matches}["background"].verdict == "different"]
    assert len(differ) == 2


def test_another_decoder_and_other_versions_are_named(cache: Path, dataset: Dataset) -> None:
    for path in (cache / "shards").iterdir():
        with edited(path) as file:
            file.attrs["made-with"] = '{"torch": "1.0"}'
    done = again(cache, dataset, 1, decoder=Decoder("pyav", "0.1"))
    assert done.notes == (f"the cache was decoded by pyav {PYAV.version}, here it is pyav 0.1: last bits may differ",)
    assert f"torch 1.0 then, {importlib.metadata.version('torch')} now" in done.videos[0].versions


def test_a_compacted_cache_is_computed_again_as_well(cache: Path, dataset: Dataset, tmp_path: Path) -> None:
    """It has no surveys: donors are looked at afresh."""
    compact(cache, tmp_path / "cache.h5")
    done = again(tmp_path / "cache.h5", dataset)
    assert {one.verdict for one in done.videos} == {"identical"}
    assert [match.what for match in done.videos[0].matches][:2] == ["file", "plain"]


def test_a_dataset_of_other_videos_is_refused(cache: Path, film: WriteVideo, tmp_path: Path) -> None:
    for number, name in enumerate(("c/go/1", "c/no/1", "d/go/1", "d/no/2")):
        film(tmp_path / f"{name}.mp4", 20, seed=number)
    others = check_files(load_folders(tmp_path / "c", tmp_path / "d"))
    with pytest.raises(CacheError, match="no video of"):
        again(cache, others)


def test_how_near_features_are() -> None:
    rows = np.array([[1, 2, 3], [0, 0, 0]], np.float16)
    assert match_features("plain", rows, rows.copy(), SAME_ARITHMETIC).verdict == "identical"
    near = rows.copy()
    near[0, 0] = np.nextafter(near[0, 0], np.float16(9))
    match = match_features("plain", rows, near, SAME_ARITHMETIC)
    assert (match.verdict, match.largest) == ("rounding", 2**-10)
    far = rows.copy()
    far[1, 1] = 1
    match = match_features("plain", rows, far, SAME_ARITHMETIC)
    assert (match.verdict, match.largest, match.cosine) == ("different", 1.0, 0.0)
    assert match_features("plain", rows, rows[:1], SAME_ARITHMETIC).verdict == "different"
    endless = np.full_like(rows, np.inf)
    assert match_features("plain", rows, endless, SAME_ARITHMETIC).verdict == "different"


def test_how_near_backgrounds_are() -> None:
    background = np.full((4, 4, 3), 100, np.uint8)
    near, far = background.copy(), background.copy()
    near[0, 0, 0], far[0, 0, 0] = 103, 120
    assert match_backgrounds(background, background, True).verdict == "identical"
    assert match_backgrounds(background, near, False).verdict == "rounding"
    assert match_backgrounds(background, near, True).verdict == "different"
    assert match_backgrounds(background, far, False).verdict == "different"
    assert match_backgrounds(background, background[:2], False).verdict == "different"

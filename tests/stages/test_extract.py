"""Stage one against a plain computation, and against kills, bad files and second runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import Interrupting, WriteVideo, small_recipe
from comix_fast.cache import FeatureCache
from comix_fast.cache.surveys import Surveys
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Advance, Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.errors import CacheError
from comix_fast.stages import extract
from comix_fast.stages.draws import draw_mix, uniform
from comix_fast.stages.extract import Extracted
from comix_fast.video import choose_decoder, open_stream, plan_clips, resize_frame, temporal_median

VIEWS = ViewPlan((2,), mixes=2, seed=3)
SIZE = 32


class Pooling(nn.Module):
    """Stands for a backbone: four pixels of each frame, channels averaged. Notes how large its batches were."""

    name = "pooling"
    feature_dim = 32
    warning = ""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, clips: Tensor) -> Tensor:
        self.sizes.append(len(clips))
        assert clips.shape[1:] == (3, 8, SIZE, SIZE)
        return clips[:, :, :, 7::16, 7::16].mean(dim=1).flatten(1)


def recipe(batch_size: int = 16, views: ViewPlan = VIEWS) -> ExtractRecipe:
    return small_recipe(views=views, batch_size=batch_size, size=SIZE)


@pytest.fixture
def folders(tmp_path: Path, film: WriteVideo) -> tuple[Path, Path]:
    """Two domains of two classes of two videos each, long, short and very short."""
    for number, (domain, name, n_frames) in enumerate(
        (domain, f"{kind}/{video}.mp4", n_frames)
        for domain in ("a", "b")
        for kind, video, n_frames in (("go", 1, 81), ("go", 2, 20), ("stop", 1, 90), ("stop", 2, 5))
    ):
        film(tmp_path / domain / name, n_frames, seed=number)
    return tmp_path / "a", tmp_path / "b"


def dataset(folders: tuple[Path, Path]) -> Dataset:
    return check_files(load_folders(*folders))


def extracted(folders: tuple[Path, Path], out: Path, *, shard_size: int = 3, **more: object) -> Extracted:
    options = {"reporter": Silent(), "backbone": Pooling(), "recipe": recipe(), "decoder": choose_decoder("pyav")}
    return extract.run(dataset=dataset(folders), out=out, shard_size=shard_size, **(options | more))  # type: ignore[arg-type]


def naive_features(frames: list[np.ndarray], starts: np.ndarray, speed: int = 1) -> np.ndarray:
    """Clips of the repeated video, frame by frame, and what `Pooling` takes of them."""
    repeat = -(-72 // len(frames))
    slowed = [frame for frame in frames for _ in range(repeat)]
    rows = []
    for start in starts:
        clip = np.stack([slowed[min(start + speed * step, len(slowed) - 1)] for step in range(8)])
        scaled = clip.astype(np.float64) * 2 / 255 - 1
        rows.append(scaled[:, 7::16, 7::16].mean(axis=3).reshape(-1))
    return np.array(rows)


def test_features_are_those_of_a_plain_computation(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = extracted(folders, tmp_path / "cache").cache
    cache, videos = FeatureCache(out), {video.id: video for video in dataset(folders).videos()}
    full = {}
    for name, video in videos.items():
        with open_stream(video.path, None, choose_decoder("pyav")) as stream:
            full[name] = list(stream)
    small = {name: [resize_frame(frame, SIZE) for frame in frames] for name, frames in full.items()}
    for name, frames in small.items():
        plan = plan_clips(len(frames))
        assert cache.row(name).n_frames == len(frames)
        for view, speed in (("plain", 1), ("speed-2", 2)):
            clips = cache.clips(name, view)
            assert clips.starts.tolist() == plan.starts
            np.testing.assert_allclose(clips.features, naive_features(frames, clips.starts, speed), atol=2e-3)
        for view in ("bgmix-0", "bgmix-1"):
            clips = cache.clips(name, view)
            assert clips.donor is not None
            assert clips.gamma is not None
            assert clips.donor.split("/")[0] != name.split("/")[0]
            assert all(start in starts for start, starts in zip(clips.starts, plan.bins, strict=True))
            background = resize_frame(temporal_median(np.stack(full[clips.donor])), SIZE)
            mixed = [(1 - clips.gamma) * frame + clips.gamma * background.astype(np.float64) for frame in frames]
            np.testing.assert_allclose(clips.features, naive_features(mixed, clips.starts), atol=2e-3)


def test_batches_are_full_across_videos(folders: tuple[Path, Path], tmp_path: Path) -> None:
    backbone = Pooling()
    extracted(folders, tmp_path / "cache", backbone=backbone)
    clips = FeatureCache(tmp_path / "cache").summary().clips
    assert set(backbone.sizes) == {16}
    # Four shards, so at most four batches are filled up.
    assert len(backbone.sizes) <= sum(clips.values()) // 16 + 4


def test_a_second_extract_does_no_work(folders: tuple[Path, Path], tmp_path: Path) -> None:
    extracted(folders, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.h5")}
    backbone = Pooling()
    again = extracted(folders, tmp_path / "cache", backbone=backbone)
    assert (again.n_new, again.n_present, backbone.sizes) == (0, 8, [])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.h5")} == before


@pytest.mark.parametrize("after", [2, 7, 9, 20, 30])
def test_an_interrupted_extract_ends_byte_identical(folders: tuple[Path, Path], tmp_path: Path, after: int) -> None:
    extracted(folders, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        extracted(folders, tmp_path / "cut", reporter=Interrupting(after))
    extracted(folders, tmp_path / "cut")
    whole, cut = FeatureCache(tmp_path / "whole"), FeatureCache(tmp_path / "cut")
    assert whole.extracted == cut.extracted
    for name in whole.extracted:
        for view in ("plain", "speed-2", "bgmix-0", "bgmix-1"):
            assert whole.features(name, view).tobytes() == cut.features(name, view).tobytes()


def test_bad_files_are_listed_and_tried_again_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source, _ = folders
    good = (source / "go/1.mp4").read_bytes()
    (source / "go/1.mp4").write_bytes(good[: len(good) * 2 // 3])
    (source / "go/2.mp4").write_bytes(b"")
    (source / "stop/1.mp4").write_text("these are not the frames you are looking for")
    done = extracted(folders, tmp_path / "cache")
    assert done.n_new == 5
    assert [one["id"] for one in done.failures] == ["a/go/1.mp4", "a/go/2.mp4", "a/stop/1.mp4"]
    assert all(one["reason"] for one in done.failures)
    cache = FeatureCache(tmp_path / "cache")
    assert [dict(one) for one in cache.failures()] == list(done.failures)
    assert [video.id for video in cache.videos("source", "train")] == ["a/stop/2.mp4"]
    assert {cache.clips(v.id, "bgmix-0").donor for v in cache.videos("target", "train")} == {"a/stop/2.mp4"}

    (source / "go/1.mp4").write_bytes(good)
    backbone = Pooling()
    again = extracted(folders, tmp_path / "cache", backbone=backbone)
    assert (again.n_new, again.n_present) == (1, 5)
    assert [one["id"] for one in again.failures] == ["a/go/2.mp4", "a/stop/1.mp4"]
    assert "a/go/1.mp4" in FeatureCache(tmp_path / "cache").extracted


def test_a_file_that_breaks_between_survey_and_features_is_listed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    victim = folders[0] / "go/1.mp4"

    class Emptying(Silent):
        @contextmanager
        def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
            if unit == "clips":
                victim.write_bytes(b"")
            yield lambda done: None

    done = extracted(folders, tmp_path / "cache", reporter=Emptying())
    assert [one["id"] for one in done.failures] == ["a/go/1.mp4"]
    assert done.n_new == 7
    cache = FeatureCache(tmp_path / "cache")
    assert len(cache.extracted) == 7
    assert len(Surveys(tmp_path / "cache", cache.key).rows) == 8


def test_other_weights_are_refused_and_nothing_changes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    extracted(folders, tmp_path / "cache")
    before = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    changed = small_recipe(views=VIEWS, size=SIZE, backbone={"name": "made-up", "weights_sha256": "1" * 64})
    with pytest.raises(CacheError, match=r"backbone\.weights_sha256: 1+, there 0+"):
        extracted(folders, tmp_path / "cache", recipe=changed)
    assert {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()} == before


class Breaking(Pooling):
    """Gives infinities for its first batch, which is of the first video alone."""

    def forward(self, clips: Tensor) -> Tensor:
        features = super().forward(clips)
        return features if len(self.sizes) > 1 else torch.full_like(features, torch.inf)


def test_videos_whose_features_are_not_finite_are_listed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = extracted(folders, tmp_path / "cache", backbone=Breaking())
    assert [one["id"] for one in done.failures] == ["a/go/1.mp4"]
    assert "not finite" in done.failures[0]["reason"]
    assert done.n_new == 7
    again = extracted(folders, tmp_path / "cache")
    assert (again.n_new, again.failures) == (1, ())


def test_another_video_of_the_same_name_is_noticed(
    folders: tuple[Path, Path], tmp_path: Path, film: WriteVideo
) -> None:
    extracted(folders, tmp_path / "cache")
    film(folders[0] / "go/1.mp4", 81, seed=77)
    with pytest.raises(CacheError, match=r"1 videos in .* were extracted from other files: a/go/1.mp4"):
        extracted(folders, tmp_path / "cache")


def test_a_file_replaced_before_its_features_is_surveyed_afresh(
    folders: tuple[Path, Path], tmp_path: Path, film: WriteVideo
) -> None:
    with pytest.raises(KeyboardInterrupt):
        extracted(folders, tmp_path / "cache", reporter=Interrupting(9))
    film(folders[0] / "go/1.mp4", 99, seed=77)
    extracted(folders, tmp_path / "cache")
    assert FeatureCache(tmp_path / "cache").row("a/go/1.mp4").n_frames == 99
    fresh = extracted(folders, tmp_path / "fresh").cache
    for video in FeatureCache(fresh).extracted:
        ours = FeatureCache(tmp_path / "cache").features(video, "bgmix-0")
        np.testing.assert_array_equal(ours, FeatureCache(fresh).features(video, "bgmix-0"))


def test_a_test_video_can_not_become_a_training_video_unnoticed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    whole = dataset(folders)
    target = whole.target
    held_out = replace(whole, target=replace(target, train=target.train[:2], test=target.train[2:]))
    options = {"reporter": Silent(), "out": tmp_path / "cache"}
    extract.run(recipe(), held_out, Pooling(), choose_decoder("pyav"), **options)  # type: ignore[arg-type]
    with pytest.raises(CacheError, match="2 training videos were extracted as test videos, without mixing"):
        extracted(folders, tmp_path / "cache")


def test_videos_added_later_are_all_that_is_extracted(
    folders: tuple[Path, Path], tmp_path: Path, film: WriteVideo
) -> None:
    extracted(folders, tmp_path / "cache")
    film(folders[1] / "go/3.mp4", 75, seed=99)
    again = extracted(folders, tmp_path / "cache")
    assert (again.n_new, again.n_present) == (1, 8)


def test_folders_of_frames_give_what_their_video_gives(folders: tuple[Path, Path], tmp_path: Path) -> None:
    from PIL import Image

    out = extracted(folders, tmp_path / "files", recipe=recipe(views=ViewPlan((), 0))).cache
    with open_stream(folders[0] / "go/2.mp4", None, choose_decoder("pyav")) as stream:
        frames = list(stream)
    (folders[0] / "go/2.mp4").unlink()
    folder = folders[0] / "go/2"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"f{number}.png")
    again = extracted(folders, tmp_path / "frames", recipe=recipe(views=ViewPlan((), 0))).cache
    ours, theirs = FeatureCache(again).features("a/go/2"), FeatureCache(out).features("a/go/2.mp4")
    np.testing.assert_array_equal(ours, theirs)
    shutil.rmtree(folder)


def test_test_videos_are_extracted_without_mixes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    whole = dataset(folders)
    target = whole.target

    held_out = replace(whole, target=replace(target, train=target.train[:2], test=target.train[2:]))
    out = extract.run(
        recipe(),
        held_out,
        Pooling(),
        choose_decoder("pyav"),
        tmp_path / "cache",
        reporter=Silent(),  # type: ignore[arg-type]
    ).cache
    cache = FeatureCache(out)
    assert cache.views(target.train[0].id) == ("bgmix-0", "bgmix-1", "plain", "speed-2")
    assert cache.views(target.train[3].id) == ("plain", "speed-2")
    donors = {cache.clips(v.id, f"bgmix-{d}").donor for v in cache.videos("source", "train") for d in (0, 1)}
    assert donors <= {video.id for video in held_out.target.train}


def test_draws_hang_on_their_arguments_alone() -> None:
    numbers = [uniform(0, f"video {n}", "bgmix-0", "gamma") for n in range(4000)]
    assert 0 <= min(numbers) < 0.01 < 0.99 < max(numbers) < 1
    assert np.mean(numbers) == pytest.approx(0.5, abs=0.02)
    # Fixed for ever: a cache of last year goes on with the same draws.
    assert uniform(3, "a/go/1.mp4", "bgmix-1", "gamma") == pytest.approx(0.4774420644, abs=1e-9)


def test_every_donor_and_every_start_comes_up() -> None:
    plan, donors = plan_clips(160), ["x", "y", "z"]
    draws = [draw_mix(plan, f"video {n}", "bgmix-0", donors, lambda _: True, 0, 0.5) for n in range(300)]
    assert {draw.donor for draw in draws} == set(donors)
    assert all(0 <= draw.gamma < 0.5 for draw in draws)
    for place, starts in enumerate(plan.bins):
        assert {draw.starts[place] for draw in draws} == set(starts)
    assert {draw_mix(plan, "v", "bgmix-0", donors, lambda d: d == "z", s, 0.5).donor for s in range(20)} == {"z"}
    with pytest.raises(CacheError, match="no background to mix in"):
        draw_mix(plan, "v", "bgmix-0", donors, lambda _: False, 0, 0.5)

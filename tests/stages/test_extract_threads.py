"""The threads of stage one: they change no byte, pass errors on, and are gone when it ends."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from threads import no_thread_left
from torch import Tensor, nn

from builders import Interrupting, WriteVideo, small_recipe
from comix_fast.backbones import load_backbone
from comix_fast.cache import FeatureCache
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Advance, Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages import extract, pipeline, planning
from comix_fast.stages.extract import Extracted
from comix_fast.stages.pipeline import Machine, Pipeline
from comix_fast.stages.planning import Donors, Planner
from comix_fast.video import FrameStream, choose_decoder, mix_background, open_stream, stream_clips, stream_windows

SIZE = 32
VIEWS = ViewPlan((2,), mixes=2, seed=3)
PYAV = choose_decoder("pyav")


class Summing(nn.Module):
    """Stands for a backbone: sums that notice every pixel. Notes its batches' sizes and torch's threads."""

    name = "summing"
    feature_dim = 12
    warning = ""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def forward(self, clips: Tensor) -> Tensor:
        self.sizes.append(len(clips))
        self.threads.add(torch.get_num_threads())
        time.sleep(0.001 * (len(self.sizes) % 3))  # who is first changes from part to part
        coarse = clips.reshape(len(clips), 3, 4, 2, SIZE, SIZE).double()
        return coarse.mean(dim=(3, 4, 5)).flatten(1).float()


def recipe(batch_size: int = 16) -> ExtractRecipe:
    return small_recipe(views=VIEWS, batch_size=batch_size, size=SIZE)


@pytest.fixture
def films(tmp_path: Path, film: WriteVideo) -> Dataset:
    """Two domains of three videos, long, short and very short."""
    for number, (domain, n_frames) in enumerate((d, n) for d in "ab" for n in (81, 20, 5)):
        film(tmp_path / domain / "go" / f"{n_frames}.mp4", n_frames, seed=number)
        film(tmp_path / domain / "stop" / f"{n_frames}.mp4", n_frames + 1, seed=number + 6)
    return check_files(load_folders(tmp_path / "a", tmp_path / "b"))


def extracted(films: Dataset, out: Path, **more: object) -> Extracted:
    options = {"reporter": Silent(), "backbone": Summing(), "recipe": recipe(), "decoder": PYAV, "shard_size": 4}
    return extract.run(dataset=films, out=out, **(options | more))  # type: ignore[arg-type]


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.h5"))}


def test_any_number_of_threads_writes_the_same_files(films: Dataset, tmp_path: Path) -> None:
    written = []
    for threads in (1, 2, 3):
        backbone = Summing()
        with no_thread_left():
            extracted(films, tmp_path / str(threads), threads=threads, backbone=backbone)
        assert backbone.threads == {1}
        written.append(files_of(tmp_path / str(threads)))
    assert len(written[0]) > 6
    assert written[0] == written[1] == written[2]


def test_threads_give_what_plain_loops_give(films: Dataset, tmp_path: Path) -> None:
    """One video after another, one clip after another, each step as the first version of the cache had it."""
    out = extracted(films, tmp_path / "cache", threads=3).cache
    cache, backbone = FeatureCache(out), Summing()
    surveys = extract.Surveys(out, cache.key)
    planner = Planner(recipe(), Donors.of(films), surveys)
    for video in films.videos():
        plan = planner.plan(video)
        with open_stream(video.path, None, PYAV) as stream:
            for request, clip in stream_clips(stream, plan.requests, SIZE):
                draw = plan.mixes.get(request.view)
                pixels = clip if draw is None else mix_background(clip, surveys.background(draw.donor), draw.gamma)
                batch = torch.from_numpy(pixels)[None].permute(0, 4, 1, 2, 3).float() * (2 / 255) - 1
                expected = backbone(batch).to(torch.float16).numpy()[0]
                assert expected.tobytes() == cache.features(video.id, request.view)[request.row].tobytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_of_a_batch_give_the_batchs_bytes(precision: str) -> None:
    """A cache filled by whole batches goes on in parts."""
    backbone = load_backbone("i3d", "random", precision)
    assert Machine(backbone, PYAV, torch.device("cpu"), 2).part_size(16) == 8
    assert Machine(backbone, PYAV, torch.device("cpu"), 2).part_size(12) == 12
    assert Machine(backbone, PYAV, torch.device("cuda"), 2).part_size(16) == 16
    noise = torch.randint(0, 256, (16, 8, 224, 224, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clips = noise.permute(0, 4, 1, 2, 3).float() * (2 / 255) - 1
    with torch.inference_mode():
        assert torch.equal(backbone(clips), torch.cat([backbone(clips[:8]), backbone(clips[8:])]))


@pytest.mark.parametrize("threads", [1, 3])
def test_errors_of_the_backbone_end_it(films: Dataset, tmp_path: Path, threads: int) -> None:
    class Failing(Summing):
        error: Exception = RuntimeError("a kernel failed")

        def forward(self, clips: Tensor) -> Tensor:
            if len(self.sizes) == 6:
                raise self.error
            return super().forward(clips)

    with no_thread_left(), pytest.raises(RuntimeError, match="a kernel failed"):
        extracted(films, tmp_path / "cache", backbone=Failing(), threads=threads)
    hungry = Failing()
    hungry.error = torch.OutOfMemoryError("CUDA out of memory")
    with no_thread_left(), pytest.raises(ComixError, match="too little memory for 16 clips at once"):
        extracted(films, tmp_path / "cache", backbone=hungry, threads=threads)
    assert not list((tmp_path / "cache").rglob("*.partial"))
    extracted(films, tmp_path / "cache")
    extracted(films, tmp_path / "whole")
    ours, theirs = FeatureCache(tmp_path / "cache"), FeatureCache(tmp_path / "whole")
    for name in theirs.extracted:
        assert ours.features(name, "bgmix-1").tobytes() == theirs.features(name, "bgmix-1").tobytes()


@pytest.mark.parametrize("after", [1, 5, 14, 20, 40])
def test_ctrl_c_leaves_no_thread_and_no_half_file(films: Dataset, tmp_path: Path, after: int) -> None:
    with no_thread_left(), pytest.raises(KeyboardInterrupt):
        extracted(films, tmp_path / "cache", reporter=Interrupting(after), threads=2)
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_video_that_fails_half_way_fails_alone(
    films: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted(films, tmp_path / "whole")
    victim = next(video for video in films.source.train if "81" in video.path.name)

    def cutting(stream: FrameStream, *rest: object) -> object:
        frames = itertools.islice(stream, 60) if stream.path == victim.path else stream
        return stream_windows(frames, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "stream_windows", cutting)
    with no_thread_left():
        done = extracted(films, tmp_path / "cut", threads=2)
    assert [one["id"] for one in done.failures] == [victim.id]
    assert "ends after 60 frames" in done.failures[0]["reason"]
    whole, cut = FeatureCache(tmp_path / "whole"), FeatureCache(tmp_path / "cut")
    assert whole.extracted - cut.extracted == {victim.id}
    for name in cut.extracted:
        assert whole.features(name, "speed-2").tobytes() == cut.features(name, "speed-2").tobytes()


def test_the_way_of_a_device_gives_the_same_bytes(
    films: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted(films, tmp_path / "host")
    monkeypatch.setattr(Machine, "on_cpu", False)
    extracted(films, tmp_path / "device", threads=3)
    assert files_of(tmp_path / "host") == files_of(tmp_path / "device")


def test_no_usable_donor_is_said_as_before(films: Dataset, tmp_path: Path) -> None:
    for video in films.target.train:
        video.path.write_bytes(b"")
    with no_thread_left(), pytest.raises(CacheError, match="no background to mix in"):
        extracted(films, tmp_path / "cache", threads=2)


def test_a_shard_closes_at_its_clips_too(films: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = extracted(films, tmp_path / "cache").cache
    planner = Planner(recipe(), Donors.of(films), extract.Surveys(out, FeatureCache(out).key))
    videos = films.source.train
    sizes = [planner.n_clips(video) for video in videos]
    assert [len(members) for members in planner.shards(videos, 4)] == [4, 2]
    assert [len(members) for members in planner.shards(videos, 100)] == [6]
    monkeypatch.setattr(planning, "SHARD_CLIPS", sum(sizes[:3]))
    assert [video for members in planner.shards(videos, 4) for video in members] == list(videos)
    assert next(len(members) for members in planner.shards(videos, 4)) == 3
    monkeypatch.setattr(planning, "SHARD_CLIPS", 1)
    assert [len(members) for members in planner.shards(videos, 4)] == [1] * 6


def test_progress_counts_every_clip(films: Dataset, tmp_path: Path) -> None:
    class Counting(Silent):
        total = done = 0

        @contextmanager
        def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
            def advance(more: int) -> None:
                assert threading.current_thread() is threading.main_thread()
                self.done += more

            self.total += total
            yield advance

    counting = Counting()
    out = extracted(films, tmp_path / "cache", reporter=counting, threads=3).cache
    assert counting.done == counting.total == len(films.videos()) + sum(FeatureCache(out).summary().clips.values())


def test_features_of_parts_that_are_not_full(films: Dataset, tmp_path: Path) -> None:
    """Three clips of padding or thirteen: the real ones are the same."""
    backbone = Summing()
    extracted(films, tmp_path / "full", backbone=backbone, shard_size=100)
    assert set(backbone.sizes) == {16}
    extracted(films, tmp_path / "sevens", recipe=recipe(7), shard_size=1)
    ours, theirs = FeatureCache(tmp_path / "full"), FeatureCache(tmp_path / "sevens")
    for name in ours.extracted:
        np.testing.assert_array_equal(ours.features(name), theirs.features(name))


def test_a_pipeline_that_is_not_used_up_ends(films: Dataset, tmp_path: Path) -> None:
    out = extracted(films, tmp_path / "cache").cache
    surveys = extract.Surveys(out, FeatureCache(out).key)
    planner = Planner(recipe(), Donors.of(films), surveys)
    machine = Machine(Summing(), PYAV, torch.device("cpu"), 2)  # type: ignore[arg-type]
    plans = (planner.plan(video) for video in films.videos())
    with no_thread_left(), Pipeline(recipe(), machine, surveys, plans):
        time.sleep(0.02)

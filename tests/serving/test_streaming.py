"""Features of many videos: in order, bad ones told apart, only a few in memory, whatever the threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import WriteVideo, small_recipe
from comix_fast.backbones import Backbone
from comix_fast.config import ViewPlan
from comix_fast.serving.answers import FailedVideo, VideoFeatures
from comix_fast.serving.streaming import GROUP, stream_features
from comix_fast.stages.pipeline import Machine
from comix_fast.video import ClipPlan, choose_decoder, clip_frames, open_stream, plan_clips, resize_frame

SIZE = 32
RECIPE = small_recipe(views=ViewPlan((), 0), size=SIZE)


class Pooling(nn.Module):
    """Stands for a backbone: four pixels of each frame, channels averaged."""

    name = "pooling"
    feature_dim = 32

    def forward(self, clips: Tensor) -> Tensor:
        return clips[:, :, :, 7::16, 7::16].mean(dim=1).flatten(1)


class NotFinite(Pooling):
    """Cannot bear a bright first frame."""

    def forward(self, clips: Tensor) -> Tensor:
        features = super().forward(clips)
        return torch.where(clips[:, :1, 0].mean(dim=(1, 2, 3))[:, None] > 0, torch.nan, features)


class Counting(Sequence[Path]):
    """Paths that note how far they have been asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths, self.furthest = paths, -1

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: Any) -> Any:
        self.furthest = max(self.furthest, number)
        return self._paths[number]


def machine(threads: int = 2, backbone: nn.Module | None = None) -> Machine:
    return Machine(cast(Backbone, backbone or Pooling()), choose_decoder("pyav"), torch.device("cpu"), threads)


def every(plan: ClipPlan) -> list[int]:
    return plan.starts


def streamed(paths: Iterable[Path], starts: Any = every, threads: int = 2) -> list[VideoFeatures | FailedVideo]:
    return list(stream_features(list(paths), RECIPE, machine(threads), starts))


def naive(path: Path, starts: Sequence[int]) -> np.ndarray:
    with open_stream(path) as stream:
        frames = [resize_frame(frame, SIZE).astype(np.float64) / 127.5 - 1 for frame in stream]
    plan = plan_clips(len(frames))
    clips = np.stack([[frames[one] for one in clip_frames(plan, start)] for start in starts])
    return clips[:, :, 7::16, 7::16].mean(axis=4).reshape(len(starts), -1)


@pytest.fixture
def films(tmp_path: Path, film: WriteVideo) -> list[Path]:
    return [film(tmp_path / f"{number}.mp4", n_frames, seed=number) for number, n_frames in enumerate((81, 20, 5, 90))]


@pytest.mark.parametrize("test_clips", [False, True])
def test_features_are_those_of_a_plain_computation(films: list[Path], test_clips: bool) -> None:
    for path, n_frames, answer in zip(
        films, (81, 20, 5, 90), streamed(films, ClipPlan.test_starts.fget if test_clips else every), strict=True
    ):
        plan = plan_clips(n_frames)
        starts = plan.test_starts if test_clips else plan.starts
        assert isinstance(answer, VideoFeatures)
        assert (answer.path, answer.n_frames, answer.features.dtype) == (path, n_frames, np.float16)
        np.testing.assert_allclose(answer.features, naive(path, starts), atol=2e-3)


@pytest.mark.parametrize("threads", [1, 5])
def test_answers_keep_the_order_of_the_paths(films: list[Path], tmp_path: Path, threads: int) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "folder").mkdir()
    (tmp_path / "cut.mp4").write_bytes(films[3].read_bytes()[:-4000])
    bad = {
        tmp_path / "bad.mp4": "is not a video that can be read",
        tmp_path / "folder": "is a folder without",
        tmp_path / "cut.mp4": "is not a video that can be read",
        tmp_path / "absent.mp4": "can't be opened (No such file or directory)",
        tmp_path / "bad\0name.mp4": "can't be opened (embedded null byte)",
        tmp_path / ("long" * 100): "can't be opened (File name too long)",
    }
    # Two whole groups of bad ones among others, and bad ones at both ends.
    paths = [*bad, *films, *bad, *bad, *bad, *films, films[0], films[0], *bad]
    alone = {path: streamed([path])[0] for path in films}
    answers = streamed(paths, threads=threads)
    assert [answer.path for answer in answers] == paths
    for answer in answers:
        if answer.path in bad:
            assert isinstance(answer, FailedVideo)
            assert answer.reason.startswith(bad[answer.path])
            assert str(tmp_path) not in answer.reason
        else:
            expected = alone[answer.path]
            assert isinstance(answer, VideoFeatures)
            assert isinstance(expected, VideoFeatures)
            assert answer.features.tobytes() == expected.features.tobytes()


def test_no_paths_and_none_that_can_be_read(tmp_path: Path) -> None:
    assert streamed([]) == []
    answers = streamed([tmp_path / f"{number}.mp4" for number in range(2 * GROUP + 1)])
    assert [answer.path.stem for answer in answers] == [str(number) for number in range(2 * GROUP + 1)]
    assert all(isinstance(answer, FailedVideo) for answer in answers)


def test_a_file_that_changes_after_it_was_counted_fails_alone(
    films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comix_fast.serving.streaming.count_frames", lambda *words: 200)
    answers = streamed(films[:1])
    assert isinstance(answers[0], FailedVideo)
    assert answers[0].reason.startswith("ends after 81 frames")


def test_features_that_are_not_finite_are_no_answer(tmp_path: Path, film: WriteVideo) -> None:
    dim, bright = film(tmp_path / "dim.mp4", 20, size=(64, 64)), film(tmp_path / "bright.mp4", 20, size=(16, 16))
    answers = list(stream_features([dim, bright], RECIPE, machine(2, NotFinite()), every))
    assert isinstance(answers[0], VideoFeatures)
    assert answers[1] == FailedVideo(bright, "the backbone gave features that are not finite; check the weights")


def test_only_a_few_videos_are_taken_ahead_and_no_thread_is_left(films: list[Path]) -> None:
    before = threading.active_count()
    paths = Counting([films[1]] * 400)
    answers = stream_features(paths, RECIPE, machine(2), every)
    for _ in range(3):
        next(answers)
    assert paths.furthest < 6 * GROUP
    answers.close()
    assert threading.active_count() == before

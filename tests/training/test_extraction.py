"""Features between two iterations: those of a plain computation, and the same from one process or several."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny as made
import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.console import Silent
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import RunError
from comix_fast.training.extraction import Extractor
from comix_fast.training.footage import Footage, listed_footage, surveyed
from comix_fast.training.processes import Processes
from comix_fast.video import choose_decoder, open_stream, plan_clips, resize_frame

pytestmark = pytest.mark.usefixtures("tiny")


class Counted:
    """Progress as it is heard of."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, done: int) -> None:
        self.total += done


class Together(Processes):
    """One of several processes, which are threads here: features go to all."""

    def __init__(self, rank: int, count: int, barrier: threading.Barrier, parts: dict[int, Tensor]) -> None:
        self.rank, self.count, self._barrier, self._parts = rank, count, barrier, parts

    def gather(self, values: Tensor) -> Tensor:
        self._parts[self.rank] = values
        self._barrier.wait(30)
        return torch.cat([self._parts[rank] for rank in range(self.count)])


def extractor(dataset: Dataset, root: Path, processes: Processes | None = None) -> tuple[Extractor, Footage]:
    backbone = load_backbone("tiny", "random")
    video, decoder = made.video_recipe(backbone), choose_decoder("pyav")
    listed = listed_footage(dataset, reverse=False)
    footage, surveys = surveyed(root / "videos", listed, video, decoder, False, 1, Silent())
    recipe = video.extract_recipe(backbone.recipe(), 4)
    return Extractor(recipe, surveys, decoder, torch.device("cpu"), 1, processes or Processes()), footage


def by_hand(backbone: Backbone, video: Video, every: bool) -> NDArray[np.float32]:
    """Whole video, resized, clip by clip."""
    with open_stream(video.path, None, "pyav") as stream:
        frames = [resize_frame(frame, made.CLIP_SIZE) for frame in stream]
    plan = plan_clips(len(frames), bins=4)
    clips = [np.stack(frames[start : start + 8]) for start in (plan.starts if every else plan.test_starts)]
    pixels = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    return np.concatenate([backbone(pixel[None]).numpy() for pixel in pixels])


@pytest.mark.parametrize("every", [False, True])
def test_features_are_those_of_a_plain_computation(footage_dataset: Dataset, tmp_path: Path, every: bool) -> None:
    (found, footage), backbone, heard = extractor(footage_dataset, tmp_path), made.trainable().frozen(), Counted()
    videos = [*footage.source[1:3], *footage.target[:2]]
    bank = found.bank(backbone, videos, every, heard)
    assert bank.ids == tuple(video.id for video in videos)
    assert bank.labels.tolist() == [video.label for video in videos]
    assert bank.mixed is None
    expected = [by_hand(backbone, video, every) for video in videos]
    assert heard.total == len(bank.clips) == sum(map(len, expected))
    assert bank.clips.take(torch.arange(1)).dtype == torch.float16
    for number, features in enumerate(expected):
        first = int(bank.bin_first[number, 0])
        rows = bank.clips.take(torch.arange(first, first + len(features)))
        np.testing.assert_allclose(rows.numpy(), features, rtol=2e-3, atol=2e-3)
        sizes = [len(part) for part in np.array_split(np.arange(len(features)), 4)]
        assert bank.bin_size[number].tolist() == sizes
        assert (bank.bin_first[number] - first).tolist() == np.cumsum([0, *sizes[:-1]]).tolist()


@pytest.mark.parametrize(("n_videos", "count"), [(5, 2), (6, 3), (1, 2)])
def test_several_processes_make_the_same_bank(
    footage_dataset: Dataset, tmp_path: Path, n_videos: int, count: int
) -> None:
    single, footage = extractor(footage_dataset, tmp_path)
    videos, backbone = footage.target[:n_videos], load_backbone("tiny", "random")
    expected = single.bank(backbone, videos, True, Counted())
    barrier, parts, found = threading.Barrier(count), {}, {}

    def work(rank: int) -> None:
        own = replace(single, processes=Together(rank, count, barrier, parts))
        found[rank] = own.bank(load_backbone("tiny", "random"), videos, True, Counted())

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = torch.arange(len(expected.clips))
    for rank in range(count):
        assert torch.equal(found[rank].bin_first, expected.bin_first)
        assert torch.equal(found[rank].clips.take(everything), expected.clips.take(everything))


def test_features_that_are_not_finite_are_an_error(footage_dataset: Dataset, tmp_path: Path) -> None:
    found, footage = extractor(footage_dataset, tmp_path)
    network = made.trainable()
    with torch.no_grad():
        network.trained()["top.0.weight"].mul_(1e30)
    with pytest.raises(RunError, match=r"(?s)not finite.*--backbone-lr"):
        found.bank(network.frozen(), footage.source[:1], False, Counted())


def test_a_video_that_has_become_unreadable_is_an_error(own_footage: Path, tmp_path: Path) -> None:
    found, footage = extractor(made.footage_of(own_footage), tmp_path)
    video = footage.source[1]
    for frame in video.path.iterdir():
        frame.write_bytes(b"no picture")
    with pytest.raises(RunError, match=rf"{video.id} could be read before, and now can't"):
        found.bank(load_backbone("tiny", "random"), footage.source, False, Counted())

"""Frames decoded ahead: those of the whole videos, in the order of the iterations, and no thread left behind."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny as made
import torch
from numpy.typing import NDArray

from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError, VideoError
from comix_fast.stages.batches import AdaptationDraws, Draws, SupervisedDraws
from comix_fast.training.decoding import FramesAhead, Streams
from comix_fast.training.frames import DrawnClips, FrameBanks, Others, frame_bank
from comix_fast.training.processes import Processes
from comix_fast.video import Limits, choose_decoder, open_stream, resize_frame

pytestmark = pytest.mark.usefixtures("tiny")

N_FRAMES = {
    f"{'scene' if domain == 'source' else 'film'} {number}": length
    for domain, lengths in made.LENGTHS.items()
    for number, length in enumerate(lengths)
}


@contextmanager
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Share(Processes):
    """One of some processes."""

    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count


def banks_of(dataset: Dataset, n_source: int = 6) -> FrameBanks:
    network = made.trainable()
    sides = dataset.source.train[:n_source], dataset.target.train
    return FrameBanks(
        *(
            frame_bank(
                videos,
                lambda name: N_FRAMES[Path(name).stem],
                made.video_recipe(network),
                Others([video.id for video in other], lambda name: True),
                lambda rows, index: torch.empty(0),
            )
            for videos, other in zip(sides, sides[::-1], strict=True)
        )
    )


def background(video: str) -> NDArray[np.uint8]:
    return np.full((made.CLIP_SIZE, made.CLIP_SIZE, 3), len(video) + ord(video[-5]), np.uint8)


def ahead(draws: Draws, iterations: range, share: Processes | None = None, threads: int = 2) -> FramesAhead:
    return FramesAhead(
        draws,
        iterations,
        (share or Processes()).share,
        background=background,
        decoder=choose_decoder("pyav"),
        size=made.CLIP_SIZE,
        device=torch.device("cpu"),
        threads=threads,
    )


def drawn(draws: Draws, iteration: int) -> list[list[DrawnClips]]:
    """What an iteration draws, by stream and video."""
    chunk = draws.chunk(iteration // 64)
    return [
        [stream.features.describe(of_video) for of_video in rows[iteration % 64]]  # type: ignore[attr-defined]
        for stream, rows in zip(draws.streams, chunk.rows, strict=True)
    ]


@functools.cache
def whole_video(path: Path) -> list[NDArray[np.uint8]]:
    with open_stream(path, None, "pyav") as stream:
        return [resize_frame(frame, made.CLIP_SIZE) for frame in stream]


def require_frames(found: Streams, expected: list[list[DrawnClips]]) -> None:
    """Each clip frame by frame that of the whole video, decoded and resized here."""
    assert [len(videos) for videos in found] == [len(videos) for videos in expected]
    for videos, wanted in zip(found, expected, strict=True):
        for clips, described in zip(videos, wanted, strict=True):
            whole = whole_video(described.video.path)
            assert [clip.gamma for clip in clips] == [described.gamma] * 4
            for clip, numbers in zip(clips, described.frames, strict=True):
                assert all(np.array_equal(f, whole[n]) for f, n in zip(clip.frames, numbers, strict=True))
                if described.donor is None:
                    assert clip.background is None
                else:
                    assert np.array_equal(clip.background, background(described.donor))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("first", [0, 62])
def test_clips_are_those_of_whole_videos_in_order(footage_dataset: Dataset, first: int, threads: int) -> None:
    draws = AdaptationDraws(banks_of(footage_dataset), 2, 0, mixing=True)
    iterations = range(first, first + 4)
    with no_thread_left(), ahead(draws, iterations, threads=threads) as frames:
        # From 62 on the third iteration is of the next chunk of draws.
        found = [frames.next() for _ in iterations]
    for iteration, streams in zip(iterations, found, strict=True):
        require_frames(streams, drawn(draws, iteration))
    firsts = [streams[0][0][0].frames[0] for streams in found]
    assert not all(np.array_equal(firsts[0], other) for other in firsts[1:])


def test_a_video_is_decoded_once_for_its_plain_and_its_mixed_clips(
    footage_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comix_fast.training.decoding as module

    opened: list[Path] = []
    inner: Callable[..., Any] = module.chosen_frames

    def counting(path: Path, *rest: Any, **named: Any) -> Any:
        opened.append(path)
        return inner(path, *rest, **named)

    monkeypatch.setattr(module, "chosen_frames", counting)
    draws = AdaptationDraws(banks_of(footage_dataset), 2, 0, mixing=True)
    with ahead(draws, range(1), threads=1) as frames:
        streams = frames.next()
    assert sum(len(videos) for videos in streams) == 8
    assert len(opened) == len(set(opened)) == 4


def test_streams_may_have_batches_of_different_sizes(footage_dataset: Dataset) -> None:
    """Of a list that is shorter than the batch a batch is all of it."""
    draws = AdaptationDraws(banks_of(footage_dataset, n_source=2), 3, 0, mixing=True)
    with ahead(draws, range(2)) as frames:
        found = [frames.next(), frames.next()]
    assert [len(videos) for videos in found[0]] == [2, 3, 2, 3]
    for iteration, streams in enumerate(found):
        require_frames(streams, drawn(draws, iteration))


def test_processes_have_disjoint_halves_that_make_the_whole(footage_dataset: Dataset) -> None:
    draws = AdaptationDraws(banks_of(footage_dataset), 4, 1, mixing=True)
    halves = []
    for rank in (0, 1):
        with ahead(draws, range(1), Share(rank, 2)) as frames:
            halves.append(frames.next())
    expected = drawn(draws, 0)
    assert [[len(videos) for videos in half] for half in halves] == [[2] * 4] * 2
    require_frames([[*one, *two] for one, two in zip(*halves, strict=True)], expected)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    assert [Share(rank, 3).share(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    with pytest.raises(ComixError, match=r"(?s)5 videos an iteration can't be shared evenly by 3.*--batch-size"):
        Share(0, 3).share(5)


def broken(own_footage: Path) -> Draws:
    """Draws of the source alone, whose third video in their order can't be read."""
    draws = SupervisedDraws(banks_of(made.footage_of(own_footage)).source, 1, 0, "warmstart")
    path = drawn(draws, 2)[0][0].video.path
    for frame in path.iterdir():
        frame.write_bytes(b"no picture")
    return draws


def test_an_unreadable_video_raises_when_it_is_due(own_footage: Path) -> None:
    draws = broken(own_footage)
    name = drawn(draws, 2)[0][0].video.path.name
    with no_thread_left(), pytest.raises(VideoError, match=name), ahead(draws, range(6)) as frames:
        for iteration in range(2):
            require_frames(frames.next(), drawn(draws, iteration))
        frames.next()


@pytest.mark.parametrize("n_taken", [0, 1])
def test_closing_early_leaves_no_thread(footage_dataset: Dataset, n_taken: int) -> None:
    draws = SupervisedDraws(banks_of(footage_dataset).source, 2, 0, "warmstart")
    with no_thread_left(), ahead(draws, range(50), threads=3) as frames:
        for _ in range(n_taken):
            frames.next()


def test_an_error_in_the_block_leaves_no_thread(footage_dataset: Dataset) -> None:
    draws = SupervisedDraws(banks_of(footage_dataset).source, 2, 0, "warmstart")
    with no_thread_left(), pytest.raises(KeyboardInterrupt), ahead(draws, range(50)) as frames:
        frames.next()
        raise KeyboardInterrupt


def test_a_long_files_index_is_made_once(footage_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    import comix_fast.training.decoding as module

    walked: list[Path] = []
    inner: Callable[..., Any] = module.index_frames

    def walk(path: Path, n_frames: int, limits: Limits) -> Any:
        walked.append(path)
        return inner(path, n_frames, limits)

    monkeypatch.setattr(module, "index_frames", walk)
    monkeypatch.setattr(module, "LONG", 79)
    draws = AdaptationDraws(banks_of(footage_dataset), 6, 0, mixing=True)
    with ahead(draws, range(3), threads=1) as frames:
        for iteration in range(3):
            require_frames(frames.next(), drawn(draws, iteration))
    # Three films have so many frames; folders have no index.
    assert sorted(path.name for path in walked) == ["film 0.mp4", "film 2.mp4", "film 5.mp4"]

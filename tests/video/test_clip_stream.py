"""Clips cut from a stream in one pass: the right pixels, in order, without holding the video."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comix_fast.errors import VideoError
from comix_fast.video import (
    ClipRequest,
    PlanError,
    clip_frames,
    plan_clips,
    resize_frame,
    stream_clips,
)
from comix_fast.video import stream as stream_module


def numbered(n_frames: int) -> np.ndarray:
    """uint8 [T, 6, 5, 3]: frame t is filled with t, so that a clip's pixels tell its frames."""
    return np.broadcast_to(np.arange(n_frames, dtype=np.uint8)[:, None, None, None], (n_frames, 6, 5, 3))


def requests_of(n_frames: int) -> list[ClipRequest]:
    plan = plan_clips(n_frames)
    return [
        ClipRequest(view, row, clip_frames(plan, start, speed))
        for view, speed in (("plain", 1), ("speed-2", 2))
        for row, start in enumerate(plan.starts)
    ]


@given(n_frames=st.integers(1, 150))
@settings(max_examples=25, deadline=None)
def test_every_view_gets_its_frames(n_frames: int) -> None:
    requests = requests_of(n_frames)
    clips = list(stream_clips(iter(numbered(n_frames)), requests, size=4))
    for request, clip in clips:
        assert clip.shape == (8, 4, 4, 3)
        assert clip.dtype == np.uint8
        assert [int(frame.min()) for frame in clip] == list(request.frames)
        assert [int(frame.max()) for frame in clip] == list(request.frames)
    assert [request for request, _ in clips] == sorted(requests, key=lambda request: request.frames[-1])


def test_pixels_are_those_of_resize_frame(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (12, 20, 30, 3), dtype=np.uint8)
    request = ClipRequest("plain", 0, (1, 1, 4, 9))
    ((got, clip),) = stream_clips(frames, [request], size=16)
    assert got is request
    assert np.array_equal(clip, np.stack([resize_frame(frames[number], 16) for number in request.frames]))


def test_a_clip_comes_with_its_last_frame_and_the_stream_is_read_to_its_end() -> None:
    n_read = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal n_read
        for frame in numbered(20):
            n_read += 1
            yield frame

    clips = stream_clips(source(), [ClipRequest("plain", 0, (2, 3, 5))], size=4)
    next(clips)
    assert n_read == 6
    assert next(clips, None) is None
    assert n_read == 20


def test_each_needed_frame_is_resized_once_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    resized: list[int] = []

    def counting(frame: np.ndarray, size: int) -> np.ndarray:
        resized.append(int(frame[0, 0, 0]))
        return resize_frame(frame, size)

    monkeypatch.setattr(stream_module, "resize_frame", counting)
    requests = [
        ClipRequest("plain", 0, (3, 4, 5)),
        ClipRequest("speed-2", 0, (3, 5, 7)),
        ClipRequest("b", 0, (9,)),
    ]
    assert len(list(stream_clips(numbered(12), requests, size=4))) == 3
    assert resized == [3, 4, 5, 7, 9]


class Tracked(np.ndarray):
    """An array that can be watched until it is gone."""


@pytest.mark.parametrize("n_frames", [100, 1000])
def test_the_window_does_not_grow_with_the_video(monkeypatch: pytest.MonkeyPatch, n_frames: int) -> None:
    alive: weakref.WeakSet[Tracked] = weakref.WeakSet()
    most = 0

    def watched(frame: np.ndarray, size: int) -> np.ndarray:
        nonlocal most
        tracked = resize_frame(frame, size).view(Tracked)
        alive.add(tracked)
        most = max(most, len(alive))
        return tracked

    # WeakSet hashes its members; arrays have no hash of their own.
    monkeypatch.setattr(Tracked, "__hash__", object.__hash__, raising=False)
    monkeypatch.setattr(Tracked, "__eq__", object.__eq__, raising=False)
    monkeypatch.setattr(stream_module, "resize_frame", watched)
    frames = (np.full((6, 5, 3), number % 256, np.uint8) for number in range(n_frames))
    n_clips = sum(1 for _ in stream_clips(frames, requests_of(n_frames), size=4))
    assert n_clips == 2 * (n_frames // 4 - 2)
    assert 8 <= most <= 15  # a speed-2 clip reaches over 15 frames


def test_a_stream_that_ends_before_a_needed_frame() -> None:
    requests = [ClipRequest("plain", row, (row, row + 5)) for row in range(4)]
    clips = stream_clips(numbered(7), requests, size=4)
    assert [next(clips)[0].row, next(clips)[0].row] == [0, 1]
    with pytest.raises(VideoError, match=r"ends after 7 frames; 2 of 4 clips need frames up to 8"):
        next(clips)


@pytest.mark.parametrize("frames", [(), (-1, 0), (3, 2)])
def test_requests_that_make_no_sense(frames: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="clip 7 of plain"):
        ClipRequest("plain", 7, frames)

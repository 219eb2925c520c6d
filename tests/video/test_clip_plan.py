"""The plan of clips: published numbers, naive recomputation, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comix_fast.video import PlanError, clip_frames, plan_clips


def test_published_geometry(golden: Path) -> None:
    published = json.loads((golden / "clip_geometry.json").read_text())
    assert len(published) > 10
    for n_frames, expected in published.items():
        plan = plan_clips(int(n_frames))
        assert plan.repeat == expected["repeat"], n_frames
        assert plan.bins == expected["bins"], n_frames
        assert plan.test_starts == expected["test_starts"], n_frames
        assert plan.starts == [start for starts in expected["bins"] for start in starts], n_frames


@given(st.integers(1, 3000))
def test_published_rule(n_frames: int) -> None:
    plan = plan_clips(n_frames)
    repeat = math.ceil(72 / n_frames) if n_frames < 72 else 1
    n_clips = n_frames * repeat // 4 - 2
    assert plan.repeat == repeat
    assert plan.starts == [4 * index for index in range(n_clips)]
    assert plan.bins == [part.tolist() for part in np.array_split(np.arange(n_clips) * 4, 16)]
    assert plan.starts[-1] + 8 <= n_frames * repeat


@given(
    n_frames=st.integers(1, 500),
    clip_length=st.integers(1, 40),
    stride=st.integers(1, 20),
    bins=st.integers(1, 20),
)
def test_other_plans_stay_inside_the_video(n_frames: int, clip_length: int, stride: int, bins: int) -> None:
    shortest = stride * (bins + math.ceil(clip_length / stride))
    plan = plan_clips(n_frames, clip_length, stride, bins, min_frames=shortest)
    assert len(plan.bins) == bins
    assert all(plan.bins)
    assert [start for starts in plan.bins for start in starts] == plan.starts
    assert plan.starts[-1] + clip_length <= n_frames * plan.repeat
    with pytest.raises(PlanError, match=f"too few for {bins} bins"):
        plan_clips(1, clip_length, stride, bins, min_frames=shortest - 1)


def test_the_hint_of_a_refusal_is_enough() -> None:
    with pytest.raises(PlanError, match="at least 144") as refused:
        plan_clips(80, clip_length=16, stride=8)
    assert isinstance(refused.value, ValueError)
    assert len(plan_clips(80, clip_length=16, stride=8, min_frames=144).starts) >= 16


@pytest.mark.parametrize("field", ["n_frames", "clip_length", "stride", "bins", "min_frames"])
def test_numbers_below_one_are_refused(field: str) -> None:
    with pytest.raises(PlanError, match=f"{field} is 0"):
        plan_clips(**{"n_frames": 100, field: 0})


def test_plans_are_shared_and_cannot_be_changed() -> None:
    plan = plan_clips(100)
    assert plan_clips(100) is plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.repeat = 2  # type: ignore[misc]
    plan.bins[0].clear()
    plan.starts.clear()
    assert plan.bins[0]
    assert plan.starts


@given(n_frames=st.integers(1, 200), index=st.integers(0, 10**6), speed=st.integers(1, 30))
def test_clip_frames_against_the_repeated_video(n_frames: int, index: int, speed: int) -> None:
    plan = plan_clips(n_frames)
    start = plan.starts[index % len(plan.starts)]
    repeated = [frame for frame in range(n_frames) for _ in range(plan.repeat)]
    expected = []
    for step in range(8):
        position = start + step * speed
        expected.append(repeated[position] if position < len(repeated) else repeated[-1])
    assert clip_frames(plan, start, speed) == tuple(expected)


def test_clip_frames_by_hand() -> None:
    assert clip_frames(plan_clips(72), 60) == (60, 61, 62, 63, 64, 65, 66, 67)
    assert clip_frames(plan_clips(72), 60, speed=2) == (60, 62, 64, 66, 68, 70, 71, 71)
    assert clip_frames(plan_clips(36), 4) == (2, 2, 3, 3, 4, 4, 5, 5)
    assert clip_frames(plan_clips(36), 4, speed=2) == (2, 3, 4, 5, 6, 7, 8, 9)
    assert clip_frames(plan_clips(1), 60, speed=2) == (0,) * 8


def test_clip_frames_refuses_what_is_outside() -> None:
    plan = plan_clips(72)
    for start in (-1, 72):
        with pytest.raises(PlanError, match="outside the repeated video's frames 0 to 71"):
            clip_frames(plan, start)
    with pytest.raises(PlanError, match="speed is 0"):
        clip_frames(plan, 0, speed=0)

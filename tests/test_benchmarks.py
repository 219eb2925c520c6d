"""The benchmarks are there and compare like with like; how fast anything is, `make bench` says."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks import extract as room
from benchmarks.__main__ import ROOMS
from benchmarks.measure import Ratio, paired
from benchmarks.step import same_losses
from comix_fast.config import ViewPlan


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_its_measure(room: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{room}").measure)


def test_the_step_and_its_eight_plain_passes_have_the_same_losses() -> None:
    line = same_losses()
    assert line.ok
    # A pseudo-label term that never acts would agree with anything.
    assert line.plain > 1


def test_a_target_is_a_floor_or_a_ceiling() -> None:
    assert Ratio("gain", 1, 4, "s", 4.0, 4.0).ok
    assert not Ratio("gain", 1, 3.9, "s", 3.9, 4.0).ok
    assert Ratio("overhead", 1.1, 1, "s", 1.1, 1.15, at_least=False).ok
    assert not Ratio("overhead", 1.2, 1, "s", 1.2, 1.15, at_least=False).ok


def test_both_ways_take_turns() -> None:
    calls: list[str] = []
    paired(lambda: calls.append("ours"), lambda: calls.append("plain"), rounds=2, warmup=1)
    assert calls == ["ours", "plain"] * 3


def test_the_clock_of_an_extract_runs_on_what_extract_asks_for_today(tmp_path: Path) -> None:
    cost = room._extract(room.Nothing(), room._drawn(tmp_path, 2, 72, (64, 48)), ViewPlan((), 1))
    assert cost.n_clips == 4 * (16 + 16)
    assert 0 < cost.features <= cost.whole

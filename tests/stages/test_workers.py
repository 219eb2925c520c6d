"""The crew of processes: who is told what, what is done about those that die. Most of them do no real work here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from stand_in import SHARD_SIZE, children, setup_of

from comix_fast.cache import CacheWriter
from comix_fast.console import Advance, Silent
from comix_fast.datasets import Dataset, Domain, Video
from comix_fast.errors import ComixError
from comix_fast.stages import workers
from comix_fast.stages.blocks import Block, blocks_of
from comix_fast.stages.survey import Failure
from comix_fast.stages.workers import Workers, devices_of

N_BLOCKS = 4


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


class Counting(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.told: list[int] = []
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        self.total = total
        yield self.told.append


def listed() -> Dataset:
    """Videos that nobody opens."""
    domains = []
    for name in "ab":
        videos = [Video(f"{name}/{n}", Path(f"{name}/{n}.mp4"), 0) for n in range(N_BLOCKS * SHARD_SIZE // 2)]
        domains.append(Domain(name, tuple(videos)))
    return Dataset("made-up", ("go",), *domains)


def blocks() -> list[Block]:
    return blocks_of(listed(), SHARD_SIZE)


def surveyed(
    mode: str, notes: Path, n_workers: int = 1, reporter: Silent | None = None, **changes: Any
) -> tuple[list[Failure], Path]:
    """What a crew of pretending workers says of four blocks of two videos, and the cache's folder."""
    out = notes.parent / "cache"
    setup = setup_of(listed(), out, **changes)
    with CacheWriter.open(out, setup.job.recipe) as cache:
        with Workers(setup, n_workers, (sys.executable, "-m", "fake_worker", mode, str(notes))) as crew:
            failures = crew.survey(cache, blocks(), reporter or Silent())
            assert len(children()) > 0
        assert not list(out.glob(".attempts-*"))
    return failures, out


def told(notes: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(notes.iterdir())]


def test_threads_are_shared_out(notes: Path) -> None:
    surveyed("well", notes, 3, threads=7)
    assert {one["threads"] for one in told(notes)} == {"2"}
    assert {one["number"] for one in told(notes)} <= {0, 1, 2}


def test_no_more_are_started_than_there_are_blocks(notes: Path) -> None:
    surveyed("well", notes, 50, threads=8)
    assert 1 <= len(told(notes)) <= N_BLOCKS
    assert {one["threads"] for one in told(notes)} == {"2"}


def test_every_gpu_is_used_unless_one_is_named(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of("cuda") == ["cuda:0", "cuda:1"]
    assert (devices_of("cuda:1"), devices_of("cpu")) == (["cuda:1"], ["cpu"])
    surveyed("halfway", notes, 2, device="cuda")
    # The first is lost, and who takes its place takes its GPU.
    by_number = {one["number"]: one["device"] for one in told(notes)}
    assert by_number[0] == "cuda:0"
    assert by_number.get(1, "cuda:1") == "cuda:1"
    assert len({one["number"] for one in told(notes)}) == len(told(notes))


def test_progress_counts_a_lost_workers_share_once(notes: Path) -> None:
    reporter = Counting()
    surveyed("halfway", notes, reporter=reporter)
    assert len(told(notes)) == 2
    assert (reporter.total, sum(reporter.told)) == (8, 8)
    assert min(reporter.told) > 0
    assert reporter.said == ["a worker has ended (exit code 5); another one takes its place"]


def test_a_block_whose_workers_end_while_no_video_is_decoded_is_given_up(notes: Path) -> None:
    reporter = Counting()
    failures, _ = surveyed("hopeless", notes, reporter=reporter)
    assert [one["id"] for one in failures] == [video.id for block in blocks() for video in block.videos]
    assert all("its block of 2 videos ended its worker 3 times (exit code 5)" in one["reason"] for one in failures)
    assert sum(reporter.told) == reporter.total == 8


def test_workers_that_are_lost_without_end_end_the_run(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_FRUITLESS", 2)
    with pytest.raises(
        ComixError, match="2 workers have ended, one after another, before anything was done: exit code 5"
    ):
        surveyed("hopeless", notes)


def test_workers_that_can_not_start_are_not_started_for_ever(notes: Path) -> None:
    with pytest.raises(ComixError, match="workers can't be started: exit code 3"):
        surveyed("unready", notes)
    assert len(told(notes)) == 3


def test_workers_that_can_not_load_are_not_started_for_ever(notes: Path) -> None:
    setup = setup_of(listed(), notes.parent / "cache")

    class Lengths:
        rows: Mapping[str, Any] = MappingProxyType({})

    with CacheWriter.open(setup.root, setup.job.recipe) as cache:
        crew = Workers(setup, 1, (sys.executable, "-m", "fake_worker", "unloadable", str(notes)))
        bare = [replace(block, videos=()) for block in blocks()]
        with pytest.raises(ComixError, match="can't be started: OutOfMemoryError: CUDA out of memory"):
            crew.extract(cache, bare, Lengths(), Silent())  # type: ignore[arg-type]
    assert len(told(notes)) == 3


def test_an_error_of_a_worker_ends_the_run_as_it_is(notes: Path) -> None:
    with pytest.raises(ComixError) as refused:
        surveyed("unlike", notes, 2)
    error = refused.value
    assert (error.message, error.details, error.hint) == (
        "it has another decoder",
        ("in the worker 2",),
        "install the same",
    )
    assert 1 <= len(told(notes)) <= 2


def test_a_full_disk_ends_the_run_as_it_does_in_one_process(notes: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as refused:
        surveyed("full", notes)
    assert (refused.value.errno, refused.value.filename) == (28, "shards")


def test_an_interrupted_crew_leaves_neither_processes_nor_files(notes: Path) -> None:
    class Pressing(Silent):
        @contextmanager
        def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
            def advance(done: int) -> None:
                half = notes.parent / "cache/surveys/.worker-0.source-1.h5.x.partial"
                half.parent.mkdir(exist_ok=True)
                half.touch()
                raise KeyboardInterrupt

            yield advance

    before = children()
    with pytest.raises(KeyboardInterrupt):
        surveyed("well", notes, 2, reporter=Pressing())
    assert children() == before
    left = [path.name for path in (notes.parent / "cache").rglob("*") if path.is_file()]
    assert sorted(left) == [".lock", ".lock-adopting", "manifest.json"]


def test_the_lock_is_held_as_long_as_a_worker_lives(notes: Path) -> None:
    """A coordinator that is killed can't end its workers: the lock is theirs as well."""
    setup = setup_of(listed(), notes.parent / "cache")
    crew = Workers(setup, 1, (sys.executable, "-m", "fake_worker", "well", str(notes)))
    with CacheWriter.open(setup.root, setup.job.recipe) as cache:
        crew.survey(cache, blocks(), Silent())
    # The coordinator's own descriptor is closed by now.
    with pytest.raises(ComixError, match="another process is writing"), CacheWriter.open(setup.root, setup.job.recipe):
        pass
    with crew:
        pass
    with CacheWriter.open(setup.root, setup.job.recipe):
        pass

"""Ray's path for real, on a cluster of one node: whatever happens to actors, the files are those of one process.

Actors are processes of Ray's. Stand-ins and faults get into them by way of their class, which travels with the work.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from stand_in import PYAV, Shuffled, files_of, films, here, job_of, misbehave, setup_of

from builders import WriteVideo
from comix_fast.cache import FeatureCache
from comix_fast.cache.format import SHARDS, SURVEYS
from comix_fast.cache.parts import Part
from comix_fast.console import Advance, Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError
from comix_fast.stages import extract
from comix_fast.stages.crew import Job
from comix_fast.stages.extract import Extracted
from comix_fast.stages.ray_actor import BlockActor
from comix_fast.stages.ray_crew import RayCrew

pytest.importorskip("ray", reason="needs the extra scale: pip install 'comix-fast[scale]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


CLUSTER = """
import sys
from comix_fast.stages.ray_session import connected
with connected("local", local_cpus=2) as ray:
    print(ray.get_runtime_context().gcs_address, file=sys.__stdout__, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray that runs in another process and that RAY_ADDRESS names, as a cluster does: no crew ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        with subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=PIPE, stdout=PIPE, text=True) as running:
            assert running.stdout is not None
            address = running.stdout.readline().strip()
            patch.setenv("RAY_ADDRESS", address)
            yield
            assert running.poll() is None
            running.communicate()
    assert address
    assert running.returncode == 0


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    return films(tmp_path, film)


@pytest.fixture
def whole(dataset: Dataset, tmp_path: Path) -> dict[str, bytes]:
    """What one process leaves."""
    here(dataset, tmp_path / "whole")
    return files_of(tmp_path / "whole")


def standing_in(**faults: Any) -> type[BlockActor]:
    """Actors with the stand-in for a backbone; faults: as `misbehave` takes them."""

    class StandIn(BlockActor):
        def __init__(self, told: str) -> None:
            misbehave(**faults)
            super().__init__(told)

    return StandIn


class Shuffling(Shuffled, RayCrew):
    """Gives the blocks in another order."""


def with_ray(
    dataset: Dataset,
    out: Path,
    n_workers: int = 1,
    reporter: Silent | None = None,
    part: Part | None = None,
    job: Job | None = None,
    crew: type[RayCrew] = RayCrew,
    **faults: Any,
) -> Extracted:
    job = job or job_of(dataset)
    setup = setup_of(dataset, out, part=part, job=job)
    with crew(setup, n_workers, actor=standing_in(**faults)) as actors:
        return extract.run_with(actors, job, dataset, out, reporter or Silent(), part=part)


def actor_pids() -> list[int]:
    """Of all actors that do blocks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if named.startswith(b"ray::MapWorker"):
            found.append(int(folder.name))
    return found


class Killing(Silent):
    """A reporter that kills an actor at the first advance of each stage, and keeps what it is told."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.told: dict[str, list[int]] = {}
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        told = self.told[f"{what}, {unit}"] = []

        def advance(more: int) -> None:
            if not told:
                pids = actor_pids()
                self.killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)
            told.append(more)

        yield advance
        assert sum(told) == total


def test_actors_in_any_order_write_the_files_of_one_process(dataset: Dataset, tmp_path: Path) -> None:
    """Of a part, too, which looks for donors of its own."""
    part = Part(1, 2)
    here(dataset, tmp_path / "whole", part=part)
    done = with_ray(dataset, tmp_path / "cache", 2, part=part, crew=Shuffling)
    assert (done.n_new, done.n_present, done.failures) == (4, 0, ())
    files = files_of(tmp_path / "cache")
    assert sum(name.startswith("shards/") for name in files) == 2
    assert files == files_of(tmp_path / "whole")


def test_an_actor_killed_in_the_middle_changes_no_byte(
    dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """One is killed from outside in each stage, and another dies at a decode."""
    reporter, once = Killing(), tmp_path / "died"
    done = with_ray(
        dataset, tmp_path / "cache", 1, reporter, fault="kill", at=["b/stop/0.mp4"], once=str(once), seconds=0.02
    )
    assert len(set(reporter.killed)) == 2
    assert once.exists()
    assert any("a worker was lost over 2 videos" in text for text in reporter.said)
    assert list(reporter.told) == ["surveying videos, videos", "extracting features, clips"]
    assert (done.n_new, done.failures) == (8, ())
    assert files_of(tmp_path / "cache") == whole


def test_poison_videos_are_given_up_after_three_tries(dataset: Dataset, tmp_path: Path) -> None:
    """One ends whoever surveys it, another ends whoever extracts its features, by an error that nobody expects."""

    class Poisoned(BlockActor):
        def __init__(self, told: str) -> None:
            misbehave(fault="segfault", at=["a/go/1.mp4"], during=["survey"])
            misbehave(fault="memory", at=["b/stop/0.mp4"], during=["extract"])
            super().__init__(told)

    out = tmp_path / "cache"
    with RayCrew(setup_of(dataset, out), 2, actor=Poisoned) as crew:
        done = extract.run_with(crew, job_of(dataset), dataset, out, Silent())
    paths = {video.id: str(video.path) for video in dataset.videos()}
    assert done.n_new == 6
    assert [(one["id"], one["path"], one["reason"]) for one in done.failures] == [
        ("a/go/1.mp4", paths["a/go/1.mp4"], "ended its worker 3 times"),
        ("b/stop/0.mp4", paths["b/stop/0.mp4"], "ended its worker 3 times (MemoryError: no room for this picture)"),
    ]
    Path(paths["a/go/1.mp4"]).write_bytes(b"")
    here(dataset, tmp_path / "unreadable")
    ours, theirs = files_of(out), files_of(tmp_path / "unreadable")
    for kind in (f"{SURVEYS}/", f"{SHARDS}/target-"):
        assert {name for name in ours if name.startswith(kind)}
    assert all(ours[name] == theirs[name] for name in theirs if name.startswith(f"{SURVEYS}/"))
    assert not [name for name in ours if ".partial" in name or ".attempts" in name]
    one, other = FeatureCache(out), FeatureCache(tmp_path / "unreadable")
    assert other.extracted - one.extracted == {"b/stop/0.mp4"}
    for video in one.extracted:
        for view in other.views(video):
            assert one.features(video, view).tobytes() == other.features(video, view).tobytes()


def test_an_actor_of_another_version_ends_the_run_in_plain_words(dataset: Dataset, tmp_path: Path) -> None:
    job = job_of(dataset)
    other = replace(job, recipe=replace(job.recipe, decoder={"name": PYAV.name, "version": "0"}))
    with pytest.raises(ComixError) as refused:
        with_ray(dataset, tmp_path / "cache", 1, job=other)
    assert refused.value.message == "a worker would not compute what the recipe says: it has another decoder"
    assert any("version" in line for line in refused.value.details)
    assert refused.value.details[-1] == f"on {socket.gethostname()}"
    assert refused.value.hint == "install the same versions and weights everywhere"
    left = files_of(tmp_path / "cache")
    assert not [name for name in left if name.endswith(".h5") or ".attempts" in name]

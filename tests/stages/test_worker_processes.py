"""Workers that work, and are killed at it: what they leave is what one undisturbed process leaves, to the byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stand_in import DESCRIBED, PYAV, Shuffled, children, command, files_of, films, here, job_of, setup_of, with_workers

from builders import Interrupting, WriteVideo
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.console import Advance, Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import ComixError
from comix_fast.stages import extract
from comix_fast.stages.settled import settle_apart
from comix_fast.stages.workers import Workers

# Extracts the folders a and b with two workers whose batches take half a second.
COORDINATOR = """
import sys
from pathlib import Path
from stand_in import with_workers
from comix_fast.datasets import check_files, load_folders
root = Path(sys.argv[1])
with_workers(check_files(load_folders(root / "a", root / "b")), root / "cache", 2, seconds=0.5)
"""


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    return films(tmp_path, film)


@pytest.fixture
def whole(dataset: Dataset, tmp_path: Path) -> dict[str, bytes]:
    """What one process leaves."""
    here(dataset, tmp_path / "whole")
    return files_of(tmp_path / "whole")


def path_of(dataset: Dataset, video: str) -> Path:
    return next(one.path for one in dataset.videos() if one.id == video)


def alive(pid: int) -> bool:
    """Whether a process is more than a name that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Shuffling(Shuffled, Workers):
    """Gives the blocks in another order."""


def test_any_number_of_workers_in_any_order_writes_the_same_files(
    dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    assert sum(name.startswith("shards/") for name in whole) == 4
    with Shuffling(setup_of(dataset, tmp_path / "1"), 1, command()) as crew:
        one = here(dataset, tmp_path / "1", crew=crew)
    three = with_workers(dataset, tmp_path / "3", 3)
    for done in (one, three):
        assert (done.n_new, done.n_present, done.failures) == (8, 0, ())
        assert files_of(done.cache) == whole


class Killing(Silent):
    """A reporter that kills a process of this one at two moments of each stage."""

    def __init__(self) -> None:
        self.killed = 0

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        done = 0

        def advance(more: int) -> None:
            nonlocal done
            for moment in (total // 4, total * 3 // 4):
                if done < moment <= done + more:
                    os.kill(min(children()), signal.SIGKILL)
                    self.killed += 1
            done += more

        yield advance
        assert done == total


def test_workers_killed_from_outside_change_no_byte(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    reporter = Killing()
    done = with_workers(dataset, tmp_path / "cache", 2, reporter, seconds=0.02)
    assert reporter.killed == 4
    assert (done.n_new, done.failures) == (8, ())
    assert files_of(tmp_path / "cache") == whole


def test_a_poison_video_is_given_up_and_the_rest_is_as_if_it_were_unreadable(dataset: Dataset, tmp_path: Path) -> None:
    done = with_workers(dataset, tmp_path / "cache", fault="segfault", at=["a/go/1.mp4"], during=["survey"])
    assert done.n_new == 7
    assert [(one["id"], one["reason"]) for one in done.failures] == [
        ("a/go/1.mp4", "ended its worker 3 times (signal 11: Segmentation fault)")
    ]
    path_of(dataset, "a/go/1.mp4").write_bytes(b"")
    unreadable = here(dataset, tmp_path / "unreadable")
    assert [one["id"] for one in unreadable.failures] == ["a/go/1.mp4"]
    ours, theirs = files_of(done.cache), files_of(unreadable.cache)
    assert ours.pop("failures.json") != theirs.pop("failures.json")
    assert ours == theirs


def test_a_video_that_poisons_features_alone_is_given_up(
    dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    done = with_workers(dataset, tmp_path / "cache", 2, fault="memory", at=["b/stop/0.mp4"], during=["extract"])
    assert done.n_new == 7
    assert [(one["id"], one["reason"]) for one in done.failures] == [
        ("b/stop/0.mp4", "ended its worker 3 times (MemoryError: no room for this picture)")
    ]
    ours = files_of(done.cache)
    assert {name: ours[name] for name in ours if name.startswith("surveys/")} == {
        name: whole[name] for name in whole if name.startswith("surveys/")
    }
    # The same command again tries this one alone.
    again = here(dataset, tmp_path / "cache")
    assert (again.n_new, again.n_present, again.failures) == (1, 7, ())
    one, other = FeatureCache(tmp_path / "cache"), FeatureCache(tmp_path / "whole")
    for video in other.extracted:
        for view in other.views(video):
            assert one.features(video, view).tobytes() == other.features(video, view).tobytes()


def test_after_ctrl_c_the_same_command_goes_on(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt):
        with_workers(dataset, tmp_path / "cache", 2, Interrupting(11), seconds=0.02)
    assert children() == before
    assert not [name for name in files_of(tmp_path / "cache") if ".partial" in name or ".attempts" in name]
    here(dataset, tmp_path / "cache")
    assert files_of(tmp_path / "cache") == whole


def test_a_killed_coordinator_leaves_no_worker_and_nothing_wrong(
    dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "cache"
    path = os.pathsep.join(folder for folder in sys.path if folder)
    running = subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("shards/*.h5")):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    workers = children(running.pid)
    assert len(workers) == 2
    running.kill()
    running.wait()
    while True:
        assert time.monotonic() < deadline
        try:
            with CacheWriter.open(out, job_of(dataset).recipe):
                break
        except ComixError as refused:
            assert "another process is writing" in refused.message
            time.sleep(0.01)
    # Whoever gets the lock is alone: what has closed its files writes no more.
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with_workers(dataset, out)
    assert files_of(out) == whole


def test_a_backbone_is_settled_without_the_video_that_ends_its_process(dataset: Dataset) -> None:
    first = dataset.videos()[0].path
    faulty = command(fault="kill", at=[str(first)])
    settled = settle_apart("pooling", "none", "auto", "cpu", False, PYAV, dataset.videos(), 1, faulty)
    assert (settled.name, settled.recipe(), settled.warning) == ("pooling", DESCRIBED, "")
    with pytest.raises(ComixError, match="the process that loads the backbone has ended: exit code 7"):
        settle_apart("pooling", "none", "fp32", "cpu", False, PYAV, (), 1, command(fault="exit", at=["load"]))


def test_nothing_to_do_starts_nobody(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    with Workers(setup_of(dataset, tmp_path / "whole"), 2, ("/nowhere/python",)) as crew:
        done = extract.run_with(crew, job_of(dataset), dataset, tmp_path / "whole", Silent())
    assert (done.n_new, done.n_present) == (0, 8)

"""Who is to blame for a worker's death, and when a video or a block is given up."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from builders import small_recipe
from comix_fast.cache import CacheWriter
from comix_fast.cache.parts import Part
from comix_fast.datasets import Video
from comix_fast.errors import VideoError
from comix_fast.stages.attempts import FIRST_TIME, Attempts, Orders
from comix_fast.stages.blocks import Block
from comix_fast.stages.pipeline_channel import Closed

BLOCK = Block(7, "source", True, tuple(Video(name, Path(f"{name}.mp4"), 0) for name in ("a", "b", "c")))


class Died(BaseException):
    """Stands for the end of a process."""


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path)


def die(attempts: Attempts, *decoding: str) -> None:
    """A worker ends while it decodes some videos."""
    with contextlib.suppress(Died), contextlib.ExitStack() as inside:
        for video in decoding:
            inside.enter_context(attempts.watching(video))
        raise Died


def reasons(orders: Orders) -> dict[str, str]:
    return {name: one["reason"] for name, one in orders.given_up.items()}


def test_a_block_is_done_as_usual_until_it_has_ended_a_worker(attempts: Attempts) -> None:
    assert attempts.begin(BLOCK) == FIRST_TIME
    assert attempts.begin(BLOCK) == Orders(True, {})
    attempts.end(BLOCK)
    assert attempts.begin(BLOCK) == FIRST_TIME


def test_a_decode_that_ends_leaves_nothing(attempts: Attempts, tmp_path: Path) -> None:
    with attempts.watching("a"):
        assert attempts.tries("a") == 1
    for error in (VideoError("cut short"), Closed(), GeneratorExit()):
        with pytest.raises(type(error)), attempts.watching("a"):
            raise error
    assert attempts.tries("a") == 0
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_not_the_videos_counts_as_an_end_of_the_process(attempts: Attempts) -> None:
    with pytest.raises(MemoryError), attempts.watching("a"):
        raise MemoryError
    assert attempts.tries("a") == 1


def test_a_video_is_given_up_after_three_ends_of_its_worker_and_the_innocent_are_cleared(attempts: Attempts) -> None:
    assert attempts.begin(BLOCK) == FIRST_TIME
    die(attempts, "a", "b")
    for _ in range(2):
        assert attempts.begin(BLOCK) == Orders(True, {})
        with attempts.watching("a"):
            pass
        die(attempts, "b")
    orders = attempts.begin(BLOCK, "signal 11: Segmentation fault")
    assert reasons(orders) == {"b": "ended its worker 3 times (signal 11: Segmentation fault)"}
    assert orders.given_up["b"] == {"id": "b", "path": "b.mp4", "reason": reasons(orders)["b"]}
    assert orders.one_at_a_time
    assert not orders.hopeless(BLOCK)
    assert orders.hopeless(BLOCK.only(lambda video: video == "b"))


def test_a_second_poison_video_of_a_block_has_three_tries_of_its_own(attempts: Attempts) -> None:
    for poison in ("b", "b", "b", "c", "c"):
        attempts.begin(BLOCK)
        die(attempts, poison)
    assert set(attempts.begin(BLOCK).given_up) == {"b"}
    die(attempts, "c")
    assert set(attempts.begin(BLOCK).given_up) == {"b", "c"}


def test_a_block_is_given_up_whose_workers_end_while_no_video_is_decoded(attempts: Attempts) -> None:
    for _ in range(3):
        assert not attempts.begin(BLOCK).given_up
        die(attempts)
    orders = attempts.begin(BLOCK, "signal 9: Killed")
    assert orders.hopeless(BLOCK)
    assert set(reasons(orders).values()) == {
        "its block of 3 videos ended its worker 3 times (signal 9: Killed), not it alone"
    }


def test_a_block_is_given_up_if_another_video_was_decoded_at_each_end(attempts: Attempts) -> None:
    """What lacks memory dies anywhere: each video is cleared by its next decode."""
    for video in ("a", "b", "c"):
        orders = attempts.begin(BLOCK)
        assert not orders.given_up
        for cleared in ("a", "b", "c"):
            with attempts.watching(cleared):
                pass
        die(attempts, video)
    for cleared in ("a", "b", "c"):
        with attempts.watching(cleared):
            pass
    assert attempts.begin(BLOCK).hopeless(BLOCK)


def test_trials_end_whatever_dies(attempts: Attempts) -> None:
    """The worst block: every decode ends its worker."""
    n_deaths = 0
    while not (orders := attempts.begin(BLOCK)).hopeless(BLOCK):
        die(attempts, next(video.id for video in BLOCK.videos if video.id not in orders.given_up))
        n_deaths += 1
    assert n_deaths == 9


def test_a_block_of_the_same_number_is_another_block(attempts: Attempts) -> None:
    attempts.begin(BLOCK)
    assert attempts.begin(BLOCK.only(lambda video: video != "a")) == FIRST_TIME


def test_names_are_no_paths(attempts: Attempts, tmp_path: Path) -> None:
    for name in ("../../out", "/etc/x", "a\nb", "", "ä" * 400, "\udcff"):
        with contextlib.suppress(Died), attempts.watching(name):
            assert attempts.tries(name) == 1
            raise Died
    assert len(list(tmp_path.iterdir())) == 6


def test_the_folder_is_gone_with_the_run_and_those_of_the_dead_are_swept(tmp_path: Path) -> None:
    root, recipe = tmp_path / "cache", small_recipe()
    with CacheWriter.open(root, recipe) as cache:
        (root / ".attempts-dead").mkdir()
        (root / ".attempts-dead/video-0").touch()
        with Attempts.of(cache) as attempts:
            attempts.begin(BLOCK)
            assert [path.name for path in root.glob(".attempts-*")] == [attempts.folder.name]
        assert not list(root.glob(".attempts-*"))
        with pytest.raises(Died), Attempts.of(cache):
            raise Died
        assert not list(root.glob(".attempts-*"))


def test_parts_sweep_their_own_alone(tmp_path: Path) -> None:
    root, recipe = tmp_path / "cache", small_recipe()
    with (
        CacheWriter.open(root, recipe, part=Part(1, 3)) as one,
        CacheWriter.open(root, recipe, part=Part(1, 31)) as other,
        Attempts.of(other) as theirs,
    ):
        (root / ".attempts-part-1-of-3-dead").mkdir()
        with Attempts.of(one):
            assert theirs.folder.is_dir()
            assert len(list(root.glob(".attempts-*"))) == 2
    with CacheWriter.open(root, recipe) as whole:
        (root / ".attempts-part-1-of-3-dead").mkdir()
        with Attempts.of(whole):
            assert len(list(root.glob(".attempts-*"))) == 1


def test_what_a_worker_said_last_is_told_where_nothing_else_is_known(attempts: Attempts) -> None:
    for _ in range(3):
        attempts.begin(BLOCK)
        attempts.say(BLOCK, "RuntimeError: \udcff odd")
        die(attempts, "b")
    assert reasons(attempts.begin(BLOCK)) == {"b": r"ended its worker 3 times (RuntimeError: \udcff odd)"}
    assert reasons(attempts.begin(BLOCK, "signal 9")) == {"b": "ended its worker 3 times (signal 9)"}

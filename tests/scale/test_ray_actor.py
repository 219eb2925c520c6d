"""What a node of a Ray cluster runs, here without Ray: what travels, what is refused, when an actor gives up."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from stand_in import DESCRIBED, PYAV, Pooling, files_of, films, here, job_of, setup_of

from builders import WriteVideo
from comix_fast.cache import CacheWriter
from comix_fast.cache.format import SURVEYS
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages import block_worker
from comix_fast.stages.attempts import Attempts
from comix_fast.stages.block_worker import error_from_json
from comix_fast.stages.blocks import Block, blocks_of

pa = pytest.importorskip("pyarrow", reason="needs the extra scale: pip install 'comix-fast[scale]'")

from comix_fast.stages import ray_actor  # noqa: E402
from comix_fast.stages.ray_actor import (  # noqa: E402
    EXPECTED,
    Answer,
    BlockActor,
    Told,
    answers_in,
    block_table,
    blocks_in,
    survey_names,
    wait_for,
)


class Alone(BlockActor):
    """An actor without Ray."""

    def name(self) -> str:
        return "the only one"


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    return films(tmp_path, film)


@pytest.fixture(autouse=True)
def pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_worker, "load_backbone", lambda *_, **__: Pooling())


@contextmanager
def run_of(dataset: Dataset, out: Path) -> Iterator[Attempts]:
    with CacheWriter.open(out, job_of(dataset).recipe) as cache, Attempts.of(cache) as attempts:
        yield attempts


def actor_of(dataset: Dataset, out: Path, attempts: Attempts, work: Any = "survey", **changes: Any) -> BlockActor:
    told = Told(setup_of(dataset, out, **changes).to_json(), work, SURVEYS, str(attempts.folder))
    return Alone(json.dumps(asdict(told)))


def asked(actor: BlockActor, *blocks: Block) -> list[Answer]:
    return answers_in(actor(pa.concat_tables(map(block_table, blocks))))


def made_up(n: int = 3) -> Block:
    odd = Path(os.fsdecode(b"/videos/caf\xe9.mp4"))
    videos = [
        Video("source/é 押す", odd, None),
        Video("b", Path("b.mp4"), 4, (7, 19)),
        Video("c", Path("c"), 0, (0, 0)),
    ]
    return Block(12, "target", True, tuple(videos[:n]))


def test_a_block_travels_as_one_row_a_video() -> None:
    table = block_table(made_up())
    assert table.num_rows == 3
    (block,) = blocks_in(table)
    assert [video.path for video in block.videos] == [video.path.absolute() for video in made_up().videos]
    assert [(v.id, v.label, v.segment) for v in block.videos] == [(v.id, v.label, v.segment) for v in made_up().videos]
    assert (block.number, block.domain, block.training) == (12, "target", True)


def test_a_row_is_small() -> None:
    videos = [Video(f"source/class/v_{n:08}", Path(f"/data/videos/class/v_{n:08}.mp4"), 3) for n in range(32)]
    table = block_table(Block(0, "source", True, tuple(videos)))
    names = sum(len(v.id) + len(os.fsencode(v.path)) for v in videos)
    assert table.nbytes <= names + 32 * 80


def test_rows_of_several_blocks_are_told_apart_and_half_a_block_is_refused() -> None:
    whole, other = block_table(made_up()), block_table(Block(3, "source", False, made_up(1).videos))
    mixed = pa.concat_tables([whole.slice(0, 1), other, whole.slice(1)])
    assert [(block.number, len(block.videos)) for block in blocks_in(mixed)] == [(12, 3), (3, 1)]
    with pytest.raises(ComixError, match="2 of the 3 videos of block 12 arrived together"):
        list(blocks_in(whole.slice(1)))


def test_half_a_block_is_not_begun(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    with run_of(dataset, out) as attempts:
        actor = actor_of(dataset, out, attempts)
        (answer,) = answers_in(actor(block_table(blocks_of(dataset, 2)[0]).slice(1)))
        assert answer.error is not None
        assert "arrived together" in answer.error["message"]
    assert not list(out.glob("surveys/*.h5"))


def test_an_actor_leaves_the_files_of_one_process(dataset: Dataset, tmp_path: Path) -> None:
    here(dataset, tmp_path / "whole")
    out = tmp_path / "cache"
    blocks = blocks_of(dataset, 2)
    with run_of(dataset, out) as attempts:
        (first, *others) = asked(actor_of(dataset, out, attempts), *reversed(blocks))
        assert (first.block, first.failures, first.error, len(others)) == (blocks[-1].number, [], None, len(blocks) - 1)
        (attempts.folder / EXPECTED).write_text("\n".join(survey_names(out, [SURVEYS])))
        for block in blocks:
            attempts.end(block)
        answers = asked(actor_of(dataset, out, attempts, "extract"), *blocks)
        assert sum(answer.n_videos for answer in answers) == 8
        assert all(answer.n_clips > 0 and not answer.retried for answer in answers)
    whole = files_of(tmp_path / "whole")
    ours = files_of(out)
    assert {name for name in whole if name.endswith(".h5")} == {name for name in ours if name.endswith(".h5")}
    assert all(whole[name] == ours[name] for name in ours)


def test_a_node_that_does_not_see_the_folder_writes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    away = Attempts(tmp_path / "elsewhere/.attempts-1")
    actor = actor_of(dataset, tmp_path / "elsewhere", away)
    (answer,) = asked(actor, blocks_of(dataset, 2)[0])
    assert answer.error is not None
    error = error_from_json(answer.error)
    assert isinstance(error, ComixError)
    assert error.message == f"{socket.gethostname()} does not see {tmp_path / 'elsewhere'}"
    assert "shared file system" in error.hint
    assert not (tmp_path / "elsewhere").exists()


def test_a_node_of_another_backbone_or_decoder_is_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cache"
    with run_of(dataset, out) as attempts:
        (attempts.folder / EXPECTED).touch()
        monkeypatch.setattr(Pooling, "recipe", lambda self: {**DESCRIBED, "weights_sha256": "1" * 64})
        (answer,) = asked(actor_of(dataset, out, attempts, "extract"), blocks_of(dataset, 2)[0])
        assert answer.error is not None
        assert "it has another backbone" in answer.error["message"]
        assert answer.error["details"][-1] == f"on {socket.gethostname()}"
    older = replace(
        job_of(dataset), recipe=replace(job_of(dataset).recipe, decoder={"name": PYAV.name, "version": "0"})
    )
    with CacheWriter.open(tmp_path / "older", older.recipe) as cache, Attempts.of(cache) as attempts:
        (answer,) = asked(actor_of(dataset, tmp_path / "older", attempts, job=older), blocks_of(dataset, 2)[0])
        assert answer.error is not None
        assert "it has another decoder" in answer.error["message"]


def test_what_ends_a_run_is_answered_and_not_raised(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "shards")

    out = tmp_path / "cache"
    with run_of(dataset, out) as attempts:
        actor = actor_of(dataset, out, attempts)
        monkeypatch.setattr(CacheWriter, "add_survey", full)
        (answer,) = asked(actor, blocks_of(dataset, 2)[0])
    assert answer.error is not None
    error = error_from_json(answer.error)
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (28, "shards")


def test_an_actor_that_dies_three_times_while_it_starts_is_not_started_again(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "cache"

    class Dying(Exception):  # noqa: N818 - stands for the end of a process
        pass

    with run_of(dataset, out) as attempts:
        for _ in range(3):
            with pytest.raises(Dying), attempts.watching("\0the start of the only one"):
                raise Dying
        (answer,) = asked(actor_of(dataset, out, attempts), blocks_of(dataset, 2)[0])
        assert answer.error is not None
        assert "can't be started: it has died 3 times" in answer.error["message"]


def test_a_backbone_that_has_no_room_is_a_reason(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crowded(*_: object, **__: object) -> None:
        raise MemoryError("no room for its weights")

    monkeypatch.setattr(block_worker, "load_backbone", crowded)
    out = tmp_path / "cache"
    with run_of(dataset, out) as attempts:
        (attempts.folder / EXPECTED).touch()
        (answer,) = asked(actor_of(dataset, out, attempts, "extract"), blocks_of(dataset, 2)[0])
    assert answer.error is not None
    assert answer.error["message"] == "a worker can't be started: MemoryError: no room for its weights"


def test_surveys_of_other_nodes_are_waited_for(tmp_path: Path) -> None:
    (tmp_path / SURVEYS).mkdir()
    names = [f"{SURVEYS}/source-{n}.h5" for n in range(2)]
    (tmp_path / names[0]).touch()
    with pytest.raises(CacheError, match="sees 1 of the 2 surveys"):
        wait_for(names, tmp_path, seconds=0.02)
    late = threading.Timer(0.05, (tmp_path / names[1]).touch)
    late.start()
    wait_for(names, tmp_path, seconds=30)
    late.join()
    # Those of other parts may be there as well.
    wait_for(names[:1], tmp_path, seconds=0)
    assert ray_actor.SEEN_WITHIN > 60

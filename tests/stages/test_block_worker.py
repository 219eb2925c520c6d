"""What travels to a worker and back, and what one does with it: nothing but JSON, nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stand_in import Pooling, files_of, films, here, job_of, recipe, setup_of

from builders import Interrupting, WriteVideo
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.parts import Part
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import CacheError, ComixError
from comix_fast.stages import block_worker
from comix_fast.stages.attempts import Orders
from comix_fast.stages.block_worker import (
    BlockWorker,
    Setup,
    block_from_json,
    block_to_json,
    error_from_json,
    error_to_json,
)
from comix_fast.stages.blocks import Block, blocks_of
from comix_fast.stages.extract import dataset_lists
from comix_fast.video import Limits

AGAIN = Orders(True, {})


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    return films(tmp_path, film)


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_backbone(*_: Any, **__: Any) -> Any:
        raise AssertionError("nobody needs a backbone here")

    monkeypatch.setattr(block_worker, "load_backbone", load_backbone)


@pytest.fixture
def pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_worker, "load_backbone", lambda *_, **__: Pooling())


def blocks(dataset: Dataset) -> list[Block]:
    return blocks_of(dataset, 2)


def surveyed(dataset: Dataset, out: Path) -> BlockWorker:
    """A worker that has surveyed everything, in a cache that has its lists."""
    with CacheWriter.open(out, recipe()) as cache:
        cache.write_dataset(dataset_lists(dataset))
    worker = BlockWorker(setup_of(dataset, out), 0)
    for block in blocks(dataset):
        assert worker.survey(block) == []
    return worker


@pytest.mark.parametrize("part", [None, Part(2, 5)])
def test_a_setup_comes_back_as_it_went(dataset: Dataset, tmp_path: Path, part: Part | None) -> None:
    setup = setup_of(dataset, tmp_path, part=part, limits=Limits(1, 2, 3.5))
    came = Setup.from_json(json.loads(json.dumps(setup.to_json())))
    assert came == setup
    assert came.job.recipe.to_json() == setup.job.recipe.to_json()


def test_every_field_of_a_recipe_travels(dataset: Dataset, tmp_path: Path) -> None:
    odd = ExtractRecipe(
        {"a": [1]}, {"name": "b", "version": "2"}, ViewPlan((3, 4), 7, 0.25, 9), 64, 16, 2, 5, 33, 4, "cuda"
    )
    job = job_of(dataset)
    setup = setup_of(dataset, tmp_path, job=type(job)(odd, job.donors, 11))
    assert Setup.from_json(json.loads(json.dumps(setup.to_json()))) == setup


def test_a_block_comes_back_as_it_went() -> None:
    videos = (Video("a/ü\n\udcff", Path("films/\udcff b.mp4"), None, (3, 9)), Video("b", Path("/x"), 4))
    block = Block(3, "target", False, videos)
    assert block_from_json(json.loads(json.dumps(block_to_json(block)))) == block


@pytest.mark.parametrize(
    "error", [CacheError("it is odd", ["one", "two"], hint="do"), ComixError("plain"), OSError(28, "No space", "there")]
)
def test_an_error_comes_back_with_all_it_says(error: ComixError | OSError) -> None:
    came = error_from_json(json.loads(json.dumps(error_to_json(error))))
    assert str(came) == str(error)
    assert isinstance(came, ComixError) == isinstance(error, ComixError)
    assert getattr(came, "errno", None) == getattr(error, "errno", None)


@pytest.mark.usefixtures("no_backbone")
def test_surveys_need_no_backbone(dataset: Dataset, tmp_path: Path) -> None:
    surveyed(dataset, tmp_path / "cache")
    whole = files_of(here(dataset, tmp_path / "whole").cache)
    ours = {name: text for name, text in files_of(tmp_path / "cache").items() if name.startswith("surveys/")}
    assert ours == {name: text for name, text in whole.items() if name.startswith("surveys/")}


@pytest.mark.usefixtures("pooling")
def test_a_worker_writes_what_one_process_writes(dataset: Dataset, tmp_path: Path) -> None:
    worker = surveyed(dataset, tmp_path / "cache")
    dones = [worker.extract(block) for block in blocks(dataset)[::-1]]
    assert [(done.n_videos, done.failures) for done in dones] == [(2, [])] * 4
    ours, theirs = files_of(tmp_path / "cache"), files_of(here(dataset, tmp_path / "whole").cache)
    assert ours == {name: text for name, text in theirs.items() if name != "failures.json"}


@pytest.mark.usefixtures("pooling")
def test_a_second_attempt_leaves_what_is_there_and_counts_it(dataset: Dataset, tmp_path: Path) -> None:
    """A worker may die between a shard and saying so; another membership would put its videos into two shards."""
    worker = surveyed(dataset, tmp_path / "cache")
    block = blocks(dataset)[0]
    worker.extract(block.only(lambda video: video == block.videos[0].id))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/shards").iterdir()}
    gone = {block.videos[0].id: {"id": block.videos[0].id, "path": "", "reason": "too late"}}
    done = worker.extract(block, orders=Orders(True, gone))
    assert (done.n_videos, done.failures) == (2, [])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(FeatureCache(tmp_path / "cache").extracted) == 2


@pytest.mark.usefixtures("no_backbone")
def test_a_second_attempt_at_a_survey_leaves_what_is_there(dataset: Dataset, tmp_path: Path) -> None:
    worker = surveyed(dataset, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/surveys").iterdir()}
    assert worker.survey(blocks(dataset)[0], orders=AGAIN) == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache/surveys").iterdir()} == before


@pytest.mark.usefixtures("no_backbone")
def test_a_block_that_is_given_up_costs_nothing(dataset: Dataset, tmp_path: Path) -> None:
    worker = surveyed(dataset, tmp_path / "cache")
    block = blocks(dataset)[1]
    given_up = {video.id: {"id": video.id, "path": "", "reason": "enough"} for video in block.videos}
    done = worker.extract(block, orders=Orders(True, given_up))
    assert (done.n_videos, done.failures) == (0, list(given_up.values()))
    assert worker.survey(block, orders=Orders(True, given_up)) == []


def test_another_decoder_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    job = job_of(dataset)
    older = ExtractRecipe(job.recipe.backbone, {"name": "pyav", "version": "1"}, job.recipe.views, 32)
    with pytest.raises(CacheError, match="it has another decoder") as refused:
        BlockWorker(setup_of(dataset, tmp_path, job=type(job)(older, job.donors, 2)), 0)
    assert refused.value.details[0].startswith("in the worker version: ")
    assert refused.value.details[0].endswith(", in the recipe 1")


def test_other_weights_are_refused(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Pooling):
        def recipe(self) -> dict[str, Any]:
            return {**super().recipe(), "weights_sha256": "1" * 64}

    monkeypatch.setattr(block_worker, "load_backbone", lambda *_, **__: Other())
    worker = surveyed(dataset, tmp_path / "cache")
    with pytest.raises(CacheError, match="it has another backbone"):
        worker.extract(blocks(dataset)[0])


def test_a_video_that_a_part_may_not_read_is_held_to_the_limits(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    with CacheWriter.open(out, recipe()):
        pass
    worker = BlockWorker(setup_of(dataset, out, limits=Limits(max_frames=50)), 0)
    failures = [one for block in blocks(dataset) for one in worker.survey(block)]
    assert 0 < len(failures) < 8
    assert all("--max-frames" in one["reason"] for one in failures)


@pytest.mark.usefixtures("pooling")
def test_files_of_a_dead_worker_are_swept_by_its_part_alone(dataset: Dataset, tmp_path: Path) -> None:
    out, part = tmp_path / "cache", Part(1, 2)
    with CacheWriter.open(out, recipe(), part=part) as cache:
        worker = BlockWorker(setup_of(dataset, out, part=part), 5)
        with pytest.raises(KeyboardInterrupt):
            worker.survey(blocks(dataset)[0], reporter=Interrupting(1))
        left = [
            out / f"surveys/.part-{name}.worker-{n}.x.h5.y.partial" for name in ("1-of-2", "2-of-2") for n in (5, 6)
        ]
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.touch()
        cache.sweep(5)
        assert [path.exists() for path in left] == [False, True, True, True]
    with CacheWriter.open(out, recipe(), part=part):
        assert [path.exists() for path in left] == [False, False, True, True]

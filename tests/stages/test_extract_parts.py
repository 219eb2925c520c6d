"""Parts of an extract, `--shard i/n`: together they leave what one undivided extract leaves, to the byte."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_in import PYAV, SHARD_SIZE, Pooling, files_of, films, here, job_of, with_workers

from builders import Interrupting, WriteVideo, small_recipe
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.parts import Division, Part, read_records
from comix_fast.datasets import Dataset, Video, check_files, load_folders
from comix_fast.errors import CacheError
from comix_fast.stages import extract
from comix_fast.stages.blocks import blocks_of, lists_digest
from comix_fast.stages.extract import Extracted

N_PARTS = 3


@pytest.fixture
def dataset(tmp_path: Path, film: WriteVideo) -> Dataset:
    return films(tmp_path, film)


@pytest.fixture
def whole(dataset: Dataset, tmp_path: Path) -> dict[str, bytes]:
    """What one undivided extract leaves."""
    here(dataset, tmp_path / "whole")
    return files_of(tmp_path / "whole")


def parts(of: int = N_PARTS) -> list[Part]:
    return [Part(number, of) for number in range(1, of + 1)]


def features(files: dict[str, bytes]) -> dict[str, bytes]:
    """What a cache is made of: all but the list of failures, and what parts note of themselves."""
    return {name: text for name, text in files.items() if name != "failures.json" and not name.startswith("parts/")}


def joined(folders: Sequence[Path]) -> dict[str, bytes]:
    """The files of several folders, those that they share being the same."""
    together: dict[str, bytes] = {}
    for folder in folders:
        for name, text in features(files_of(folder)).items():
            assert together.setdefault(name, text) == text, name
    return together


def broken(dataset: Dataset, *names: str) -> None:
    for video in dataset.videos():
        if video.id in names:
            video.path.write_bytes(b"")


@pytest.mark.parametrize("order", [0, 1, 2])
def test_parts_one_after_another_in_one_folder(
    dataset: Dataset, tmp_path: Path, whole: dict[str, bytes], order: int
) -> None:
    dones = [here(dataset, tmp_path / "cache", part=part) for part in random.Random(order).sample(parts(), N_PARTS)]
    assert sum(done.n_new for done in dones) == 8
    assert all((done.n_present, done.failures) == (0, ()) for done in dones)
    assert features(files_of(tmp_path / "cache")) == features(whole)
    assert [(record.part, record.finished) for record in read_records(tmp_path / "cache")] == [
        (part, True) for part in parts()
    ]
    # The undivided extract then finds everything, and does away with what parts noted.
    done = here(dataset, tmp_path / "cache")
    assert (done.n_new, done.n_present) == (0, 8)
    assert files_of(tmp_path / "cache") == whole
    assert sorted(path.name for path in (tmp_path / "cache").glob(".lock*")) == [".lock", ".lock-adopting"]


def test_parts_at_the_same_time_in_one_folder(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    together = threading.Barrier(N_PARTS)

    def run(part: Part) -> Extracted:
        together.wait()
        return here(dataset, tmp_path / "cache", part=part)

    with ThreadPoolExecutor(N_PARTS) as pool:
        assert sum(done.n_new for done in pool.map(run, parts())) == 8
    assert features(files_of(tmp_path / "cache")) == features(whole)


def test_parts_in_folders_of_their_own(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    folders = [here(dataset, tmp_path / part.name, part=part).cache for part in parts()]
    assert joined(folders) == features(whole)
    for folder in folders:
        assert 0 < len(FeatureCache(folder).extracted) < 8
        assert sorted(path.name for path in (folder / "parts").iterdir()) == [f"{folder.name}.json"]


def test_a_part_by_workers_writes_the_same(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    """It surveys donors that are other parts', by its workers as well."""
    with_workers(dataset, tmp_path / "cache", 2, part=Part(2, 3))
    alone = here(dataset, tmp_path / "alone", part=Part(2, 3))
    assert files_of(tmp_path / "cache") == files_of(alone.cache)
    for part in (Part(1, 3), Part(3, 3)):
        here(dataset, tmp_path / "cache", part=part)
    assert features(files_of(tmp_path / "cache")) == features(whole)


def test_more_parts_than_blocks(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    dones = [here(dataset, tmp_path / "cache", part=part) for part in parts(6)]
    assert [done.n_new for done in dones] == [2, 2, 2, 2, 0, 0]
    assert features(files_of(tmp_path / "cache")) == features(whole)
    assert all(record.finished for record in read_records(tmp_path / "cache"))


def test_donors_that_fail_are_replaced_alike_by_all_parts(dataset: Dataset, tmp_path: Path) -> None:
    gone = ("a/go/1.mp4", "b/go/0.mp4", "b/stop/1.mp4")
    broken(dataset, *gone)
    undivided = here(dataset, tmp_path / "whole")
    assert {one["id"] for one in undivided.failures} == set(gone)
    dones = [here(dataset, tmp_path / part.name, part=part) for part in parts()]
    assert joined([done.cache for done in dones]) == features(files_of(undivided.cache))
    # Each is listed by the part whose it is, not by those that it is a donor to.
    assert sorted(one["id"] for done in dones for one in done.failures) == sorted(gone)
    shared = [here(dataset, tmp_path / "cache", part=part) for part in parts()]
    assert features(files_of(tmp_path / "cache")) == features(files_of(undivided.cache))
    cache = FeatureCache(tmp_path / "cache")
    assert {one["id"] for one in cache.failures()} == set(gone)
    assert sorted(one["id"] for done in shared for one in done.failures) == sorted(gone)


def test_a_part_decodes_an_unreadable_video_of_its_own_once(dataset: Dataset, tmp_path: Path) -> None:
    """Also where it is the donor of another of the part's videos."""
    broken(dataset, "a/go/0.mp4", "a/go/1.mp4")
    asked: list[str] = []

    class Noting(extract.Here):
        def survey(self, cache: Any, blocks: Any, *more: Any) -> Any:
            asked.extend(video.id for block in blocks for video in block.videos)
            return super().survey(cache, blocks, *more)

    crew = Noting(job_of(dataset), extract.Machine(Pooling(), PYAV, torch.device("cpu"), 1))  # type: ignore[arg-type]
    here(dataset, tmp_path / "cache", crew=crew, part=Part(1, 1))
    assert sorted(asked) == sorted(video.id for video in dataset.videos())


@pytest.mark.parametrize("after", [1, 3, 6, 12])
def test_an_interrupted_part_goes_on(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes], after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        here(dataset, tmp_path / "cache", Interrupting(after), part=Part(1, 2))
    assert [(record.part, record.finished) for record in read_records(tmp_path / "cache")] == [(Part(1, 2), False)]
    assert FeatureCache(tmp_path / "cache").summary().unfinished_parts == ("1-of-2",)
    for part in parts(2):
        here(dataset, tmp_path / "cache", part=part)
    assert features(files_of(tmp_path / "cache")) == features(whole)
    assert FeatureCache(tmp_path / "cache").summary().unfinished_parts == ()
    assert [path.name for path in (tmp_path / "cache/parts").iterdir() if path.is_dir()] == []


def test_a_donor_replaced_since_another_part_surveyed_it_is_surveyed_again(
    dataset: Dataset, tmp_path: Path, film: WriteVideo
) -> None:
    surveyed = len(videos_of(dataset, Part(1, 2)))
    with pytest.raises(KeyboardInterrupt):
        here(dataset, tmp_path / "cache", Interrupting(surveyed + 1), part=Part(1, 2))
    for number, video in enumerate(videos_of(dataset, Part(1, 2))):
        film(video.path, 41 + number, seed=70 + number)
    here(dataset, tmp_path / "whole")
    for part in (Part(2, 2), Part(1, 2)):
        here(dataset, tmp_path / "cache", part=part)
    assert features(files_of(tmp_path / "cache")) == features(files_of(tmp_path / "whole"))


def videos_of(dataset: Dataset, part: Part) -> list[Video]:
    """The videos of a part."""
    return [video for block in part.share(blocks_of(dataset, SHARD_SIZE)) for video in block.videos]


def test_a_part_again_finds_everything(dataset: Dataset, tmp_path: Path) -> None:
    here(dataset, tmp_path / "cache", part=Part(1, 2))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.h5")}
    again = here(dataset, tmp_path / "cache", part=Part(1, 2))
    assert (again.n_new, again.n_present) == (0, 4)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.h5")} == before


def test_a_part_of_a_whole_cache_has_nothing_to_do(dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]) -> None:
    done = here(dataset, tmp_path / "whole", part=Part(2, 3))
    assert (done.n_new, done.n_present, done.failures) == (0, 2, ())
    assert features(files_of(tmp_path / "whole")) == features(whole)


def test_the_same_part_twice_at_once_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with (
        CacheWriter.open(tmp_path / "cache", job_of(dataset).recipe, part=Part(1, 2)),
        pytest.raises(CacheError, match="another process is extracting part 1 of 2"),
    ):
        here(dataset, tmp_path / "cache", part=Part(1, 2))


def test_parts_and_the_whole_keep_each_other_out(dataset: Dataset, tmp_path: Path) -> None:
    recipe = job_of(dataset).recipe
    with (
        CacheWriter.open(tmp_path / "one", recipe, part=Part(1, 2)),
        pytest.raises(CacheError, match="another process is writing"),
    ):
        here(dataset, tmp_path / "one")
    with CacheWriter.open(tmp_path / "two", recipe), pytest.raises(CacheError, match="another process is writing"):
        here(dataset, tmp_path / "two", part=Part(1, 2))


def division(dataset: Dataset, of: int, shard_size: int = SHARD_SIZE) -> Division:
    return Division(of, shard_size, lists_digest(dataset))


def test_parts_that_divide_otherwise_are_refused_while_one_is_under_way(dataset: Dataset, tmp_path: Path) -> None:
    out, recipe = tmp_path / "cache", job_of(dataset).recipe
    shorter = replace(dataset, target=replace(dataset.target, train=dataset.target.train[1:]))
    unlike = [(dataset, Part(2, 3)), (shorter, Part(2, 2))]
    with CacheWriter.open(out, recipe, part=Part(1, 2)) as cache:
        cache.begin_part(division(dataset, 2))
        before = files_of(out)
        for lists, part in unlike:
            with pytest.raises(
                CacheError, match=r"part 1 of 2 is being extracted into .* and divides the videos otherwise"
            ):
                here(lists, out, part=part)
        with CacheWriter.open(out, recipe, part=Part(2, 2)) as other, pytest.raises(CacheError) as refused:
            other.begin_part(division(dataset, 2, shard_size=5))
        assert refused.value.details == ("--shard-size: 5, there 2",)
        assert files_of(out) == before
    # It is gone, and what it noted is worth nothing to parts of another kind.
    for part in parts(3):
        here(dataset, out, part=part)
    assert [record.part for record in read_records(out)] == parts(3)


def test_two_that_begin_at_once_and_divide_otherwise_never_both_go_on(dataset: Dataset, tmp_path: Path) -> None:
    out, recipe, together = tmp_path / "cache", job_of(dataset).recipe, threading.Barrier(4)
    going: list[int] = []

    def begin(of: int) -> str:
        with CacheWriter.open(out, recipe, part=Part(1, of)) as cache:
            together.wait()
            try:
                cache.begin_part(division(dataset, of))
                going.append(of)
                return "began"
            except CacheError as error:
                return error.message
            finally:
                together.wait()

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(begin, (2, 3, 4, 5)))
    assert said.count("began") == 1 == len(going)
    assert all("divides the videos otherwise" in one for one in said if one != "began")


def test_videos_added_between_two_parts_are_another_division(
    dataset: Dataset, tmp_path: Path, film: WriteVideo
) -> None:
    """The second part knows of more videos: what the first has done stays, and nothing is in two shards."""
    here(dataset, tmp_path / "cache", part=Part(1, 2))
    film(tmp_path / "a/go/7.mp4", 30, seed=99)
    more = check_files(load_folders(tmp_path / "a", tmp_path / "b"))
    for part in (Part(2, 2), Part(1, 2)):
        here(more, tmp_path / "cache", part=part)
    assert FeatureCache(tmp_path / "cache").extracted == {video.id for video in more.videos()}


def test_a_part_of_another_recipe_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    here(dataset, tmp_path / "cache", part=Part(1, 2))
    before = files_of(tmp_path / "cache")
    job = job_of(dataset)
    other = replace(job, recipe=replace(job.recipe, batch_size=3))
    with pytest.raises(CacheError, match="was made by another recipe"):
        extract.run_with(None, other, dataset, tmp_path / "cache", Interrupting(1), part=Part(2, 2))  # type: ignore[arg-type]
    assert files_of(tmp_path / "cache") == before


def test_a_part_survives_the_loss_of_what_others_left(
    dataset: Dataset, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """Donors that others have surveyed may be gone the next time: a part looks at them itself."""
    here(dataset, tmp_path / "cache", part=Part(1, 2))
    shutil.rmtree(tmp_path / "cache/surveys")
    here(dataset, tmp_path / "cache", part=Part(2, 2))
    here(dataset, tmp_path / "cache", part=Part(1, 2))
    ours = files_of(tmp_path / "cache")
    assert {name: ours[name] for name in ours if name.startswith("shards/")} == {
        name: whole[name] for name in whole if name.startswith("shards/")
    }


def test_a_part_is_not_refused_for_what_it_noted_itself(tmp_path: Path) -> None:
    first, then = Division(2, 4, "the lists"), Division(2, 4, "longer lists")
    for division in (first, then):
        with CacheWriter.open(tmp_path / "cache", small_recipe(), part=Part(1, 2)) as cache:
            cache.begin_part(division)
            assert [record.division for record in read_records(tmp_path / "cache")] == [division]


def test_all_parts_of_a_new_division_may_begin_at_once(tmp_path: Path) -> None:
    old, new = Division(2, 4, "the lists"), Division(2, 8, "the lists")
    for part in parts(2):
        with CacheWriter.open(tmp_path / "cache", small_recipe(), part=part) as cache:
            cache.begin_part(old)
    with (
        CacheWriter.open(tmp_path / "cache", small_recipe(), part=Part(1, 2)) as one,
        CacheWriter.open(tmp_path / "cache", small_recipe(), part=Part(2, 2)) as other,
    ):
        other.begin_part(new)
        one.begin_part(new)

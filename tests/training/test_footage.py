"""The videos of a run: looked through once, those that can't be read left out, the same at every start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny as made

from comix_fast.backbones import load_backbone
from comix_fast.cache.surveys import Surveys
from comix_fast.console import Silent
from comix_fast.datasets import Dataset
from comix_fast.errors import CacheError, DatasetError, RunError
from comix_fast.stages import survey as surveying
from comix_fast.training.footage import Footage, listed_footage, surveyed
from comix_fast.video import choose_decoder, median_background, open_stream

pytestmark = pytest.mark.usefixtures("tiny")


class Warned(Silent):
    """A reporter that remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def look(
    dataset: Dataset, root: Path, reporter: Silent | None = None, size: int = made.CLIP_SIZE, backgrounds: bool = True
) -> tuple[Footage, Surveys]:
    recipe = made.video_recipe(load_backbone("tiny", "random"), size=size)
    listed = listed_footage(dataset, reverse=False)
    return surveyed(root / "run/videos", listed, recipe, choose_decoder("pyav"), backgrounds, 2, reporter or Silent())


def spoil(path: Path) -> None:
    """A film that no decoder reads, of the size it had."""
    path.write_bytes(bytes(path.stat().st_size))


def film(root: Path, number: int) -> Path:
    (path,) = (root / "target").glob(f"*/film {number}.mp4")
    return path


def test_every_video_is_surveyed_once(
    footage_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage, surveys = look(footage_dataset, tmp_path)
    assert footage == listed_footage(footage_dataset, reverse=False)
    assert footage.transductive
    assert set(surveys.rows) == {video.id for video in (*footage.source, *footage.target)}
    for domain, videos in (("source", footage.source), ("target", footage.target)):
        n_frames = {int(video.path.stem.split()[-1]): surveys.rows[video.id].n_frames for video in videos}
        assert n_frames == dict(enumerate(made.LENGTHS[domain]))
    name = footage.target[2].id

    def frames() -> object:
        with open_stream(footage.target[2].path, None, "pyav") as stream:
            yield from stream

    expected, _ = median_background(frames, made.CLIP_SIZE)  # type: ignore[arg-type]
    assert np.array_equal(surveys.background(name), expected)
    # What was decoded before is not decoded again.
    monkeypatch.setattr(surveying, "survey_video", None)
    again, found = look(footage_dataset, tmp_path)
    assert again == footage
    assert {name: row.sha256 for name, row in found.rows.items()} == {n: row.sha256 for n, row in surveys.rows.items()}


def test_unreadable_videos_are_left_out_with_a_warning(own_footage: Path, tmp_path: Path) -> None:
    spoil(film(own_footage, 1))
    dataset, reporter = made.footage_of(own_footage), Warned()
    footage, surveys = look(dataset, tmp_path, reporter)
    (warning,) = reporter.warnings
    assert "1 videos can't be read and are left out" in warning
    assert "film 1.mp4" in warning
    left = {video.path.name for videos in (footage.target, footage.measured) for video in videos}
    assert left == {f"film {number}.mp4" for number in (0, 2, 3, 4, 5)}
    assert len(footage.source) == 6
    # Still among the donors that are drawn from, so that the draws are a cache's.
    assert {Path(name).stem for name in footage.donors[1]} == {f"film {number}" for number in range(6)}
    assert not any("film 1" in name for name in surveys.rows)
    assert look(dataset, tmp_path)[0] == footage


def test_a_file_that_has_changed_is_an_error(own_footage: Path, tmp_path: Path) -> None:
    dataset = made.footage_of(own_footage)
    look(dataset, tmp_path)
    with film(own_footage, 3).open("ab") as file:
        file.write(b"more")
    with pytest.raises(RunError, match=r"(?s)1 videos are not those that .*run began with: .*film 3.*another --name"):
        look(dataset, tmp_path)


def test_a_file_that_is_gone_is_an_error(own_footage: Path, tmp_path: Path) -> None:
    dataset = made.footage_of(own_footage)
    look(dataset, tmp_path)
    film(own_footage, 3).unlink()
    with pytest.raises(RunError, match="1 videos are not those"):
        look(dataset, tmp_path)


def test_a_video_that_can_be_read_now_is_an_error(own_footage: Path, footage_root: Path, tmp_path: Path) -> None:
    spoil(film(own_footage, 1))
    dataset = made.footage_of(own_footage)
    look(dataset, tmp_path)
    film(own_footage, 1).write_bytes(film(footage_root, 1).read_bytes())
    with pytest.raises(RunError, match=r"(?s)other videos can be read now than when .*run began.*restore the files"):
        look(dataset, tmp_path)


def test_a_folder_of_another_recipe_is_an_error(footage_dataset: Dataset, tmp_path: Path) -> None:
    look(footage_dataset, tmp_path)
    with pytest.raises(CacheError, match="belongs to another recipe"):
        look(footage_dataset, tmp_path, size=16)
    with pytest.raises(CacheError, match="belongs to another recipe"):
        look(footage_dataset, tmp_path, backgrounds=False)


def test_reversed_the_domains_change_places(footage_dataset: Dataset) -> None:
    there, back = (listed_footage(footage_dataset, reverse) for reverse in (False, True))
    assert (back.source, back.target, back.names) == (there.target, there.source, there.names[::-1])
    assert back.donors == there.donors[::-1]
    assert back.measured == there.source


def test_measured_videos_are_the_targets_tests(footage_dataset: Dataset) -> None:
    target = footage_dataset.target
    tested = replace(footage_dataset, target=replace(target, train=target.train[:4], test=target.train[3:]))
    footage = listed_footage(tested, reverse=False)
    assert (footage.target, footage.measured) == (target.train[:4], target.train[3:])
    assert not footage.transductive


def test_sources_need_labels(footage_dataset: Dataset) -> None:
    target = footage_dataset.target
    first = replace(target.train[0], label=None)
    unlabelled = replace(footage_dataset, target=replace(target, train=(first, *target.train[1:])))
    assert listed_footage(unlabelled, reverse=False).target[0].label is None
    with pytest.raises(DatasetError, match=r"1 source videos have no label: .*film 0"):
        listed_footage(unlabelled, reverse=True)

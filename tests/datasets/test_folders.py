"""Two folders of class folders, made by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comix_fast.datasets import Video, check_files, load_folders, natural_key
from comix_fast.errors import DatasetError


def make(root: Path, *names: str) -> Path:
    """Empty files at these places; a name that ends with a slash is a folder of two frames."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            (path / "img_00001.jpg").touch()
            (path / "img_00002.jpg").touch()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def refused(source: Path, target: Path, *parts: str) -> None:
    with pytest.raises(DatasetError) as error:
        load_folders(source, target)
    for part in parts:
        assert part in str(error.value), str(error.value)


@pytest.fixture
def indoors(tmp_path: Path) -> Path:
    return make(tmp_path / "indoors", "wave/v10.avi", "wave/v2.MP4", "walk/a/", "walk/b.webm", ".cache/x.avi")


def test_videos_come_by_class_in_natural_order(indoors: Path, tmp_path: Path) -> None:
    outdoors = make(tmp_path / "outdoors", "walk/c.mov", "wave/d.mkv")
    dataset = check_files(load_folders(indoors, outdoors))
    assert (dataset.name, dataset.classes) == ("indoors-outdoors", ("walk", "wave"))
    assert dataset.source.train == (
        Video("walk/a", indoors / "walk/a", 0),
        Video("walk/b.webm", indoors / "walk/b.webm", 0),
        Video("wave/v2.MP4", indoors / "wave/v2.MP4", 1),
        Video("wave/v10.avi", indoors / "wave/v10.avi", 1),
    )
    assert dataset.transductive
    assert dataset.notes == (dataset.measured()[1],)


def test_a_flat_target_has_no_labels(indoors: Path, tmp_path: Path) -> None:
    dataset = load_folders(indoors, make(tmp_path / "new", "b.avi", "a10/", "a9/", "notes.txt"))
    assert [(video.id, video.label) for video in dataset.target.train] == [
        ("a9", None),
        ("a10", None),
        ("b.avi", None),
    ]
    assert dataset.measured()[0] == ()
    assert any("being no videos (1): notes.txt" in note for note in dataset.notes)


def test_a_flat_source_is_refused(indoors: Path, tmp_path: Path) -> None:
    flat = make(tmp_path / "flat", "a.avi", "b.avi")
    refused(flat, indoors, "holds no class folders", "found videos (2) and no folder")
    refused(
        make(tmp_path / "mixed", "walk/a.avi", "b.avi"),
        indoors,
        "holds videos (1) beside its class folders (1)",
        "b.avi",
    )


def test_class_folders_that_differ_are_counted_and_named(indoors: Path, tmp_path: Path) -> None:
    outdoors = make(tmp_path / "outdoors", "walk/a.avi", "jump/b.avi", "kick/c.avi")
    refused(
        indoors,
        outdoors,
        "2 and 3 classes",
        f"1 only under {indoors}: wave",
        f"2 only under {outdoors}: jump, kick",
    )


def test_empty_class_folders_are_named(indoors: Path, tmp_path: Path) -> None:
    outdoors = make(tmp_path / "outdoors", "walk/a.avi", "wave/readme.txt")
    refused(indoors, outdoors, "1 of 2 class folders of", "hold no video", "wave", ".avi .mp4")


def test_the_same_names_in_both_domains(tmp_path: Path) -> None:
    names = ("walk/a.avi", "wave/b.avi")
    one, other = make(tmp_path / "x" / "videos", *names), make(tmp_path / "y" / "videos", *names)
    dataset = load_folders(one, other)
    assert (dataset.source.name, dataset.target.name) == ("source-videos", "target-videos")
    assert [video.id for video in dataset.videos()] == [
        "source-videos/walk/a.avi", "source-videos/wave/b.avi",
        "target-videos/walk/a.avi", "target-videos/wave/b.avi",
    ]  # fmt: skip


def test_the_same_folder_as_source_and_target_is_refused(indoors: Path, tmp_path: Path) -> None:
    refused(indoors, indoors, "4 of 4 videos of", "are also videos of")
    link = tmp_path / "link"
    link.symlink_to(indoors)
    with pytest.raises(DatasetError, match="4 of 4 videos of indoors"):
        check_files(load_folders(indoors, link))


def test_folders_that_are_not_there(indoors: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none", indoors, f"{tmp_path / 'none'} can't be listed: No such file")
    refused(indoors, tmp_path / "none", "can't be listed")


def test_names_that_are_no_text_are_refused(indoors: Path, tmp_path: Path) -> None:
    make(tmp_path / "odd", "walk/a.avi", "wave/b.avi", os.fsdecode(b"walk/\xff.avi"))
    refused(indoors, tmp_path / "odd", "1 of 2 names in", "not UTF-8")


def test_natural_order() -> None:
    names = ["v10", "v9", "v09", "v1", "w", "10", "9", "v9b", ""]
    assert sorted(names, key=natural_key) == ["", "9", "10", "v1", "v09", "v9", "v9b", "v10", "w"]

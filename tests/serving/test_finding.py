"""Which videos are meant by what a user names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comix_fast.errors import DatasetError
from comix_fast.serving.finding import find_videos, read_list


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, *names: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_videos([root / name for name in names])]


def test_folders_are_walked_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "in/clip10.mp4", "in/clip2.AVI", "in/b/x.webm", "in/a/deep/y.mov", "in/notes.txt", "in/.hid/z.mp4")
    touch(tmp_path, "in/frames/img_1.jpg", "in/frames/img_2.jpg", "in/empty/notes.txt", "in/.z.mp4")
    expected = ["a/deep/y.mov", "b/x.webm", "clip2.AVI", "clip10.mp4", "frames"]
    assert found(tmp_path, "in") == [f"in/{name}" for name in expected]


def test_a_folder_of_frames_is_one_video_and_its_own_path(tmp_path: Path) -> None:
    touch(tmp_path, "frames/1.png", "frames/2.png", "frames/flow/1.png")
    assert found(tmp_path, "frames") == ["frames"]


def test_pictures_beside_videos_are_no_frames(tmp_path: Path) -> None:
    touch(tmp_path, "in/cover.jpg", "in/a.mp4")
    assert found(tmp_path, "in") == ["in/a.mp4"]


def test_files_are_taken_as_named_and_each_video_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.mp4", "in/b.mp4", "odd.name")
    assert found(tmp_path, "in/b.mp4", "odd.name", "in", "absent.mp4") == [
        "in/b.mp4",
        "odd.name",
        "in/a.mp4",
        "absent.mp4",
    ]


def test_links_that_lead_back_end_the_walk(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.mp4")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert found(tmp_path, "in") == ["in/a.mp4", "in/gone.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_can_not_be_listed_is_kept(tmp_path: Path) -> None:
    touch(tmp_path, "in/shut/a.mp4", "in/b.mp4")
    (tmp_path / "in" / "shut").chmod(0)
    try:
        assert found(tmp_path, "in") == ["in/b.mp4", "in/shut"]
    finally:
        (tmp_path / "in" / "shut").chmod(0o700)


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"(?s)no video in .*empty.*looked for a folder of frames, or \.avi"):
        find_videos([tmp_path / "empty"])
    with pytest.raises(DatasetError, match=r"there is no file or folder .*absent, .*bad"):
        find_videos([tmp_path / "absent", tmp_path / "bad\0name"])


def test_a_list_holds_a_path_a_line() -> None:
    content = "a b.mp4\r\n\n  \nü/[red].mp4\n".encode() + b"x\xff.mp4"
    assert read_list(content) == [Path("a b.mp4"), Path("ü/[red].mp4"), Path(os.fsdecode(b"x\xff.mp4"))]

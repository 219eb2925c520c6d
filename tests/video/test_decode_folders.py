"""Folders of frames: order, segments, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comix_fast.errors import VideoError
from comix_fast.video import count_frames, open_stream


def save(folder: Path, name: str, value: int, size: tuple[int, int] = (6, 4)) -> None:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(folder / name)


def values(path: Path, segment: tuple[int, int] | None = None) -> list[int]:
    with open_stream(path, segment) as stream:
        return [int(frame[0, 0, 0]) for frame in stream]


def test_natural_order_and_other_files_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "video"
    for number in (10, 2, 1, 33):
        save(folder, f"img_{number}.png", number)
    save(folder, ".img_5.png", 5)
    (folder / "notes.txt").write_text("not a frame")
    assert values(folder) == [1, 2, 10, 33]
    assert count_frames(folder) == 4
    with open_stream(str(folder)) as stream:
        assert stream.fps is None
        assert stream.name == str(folder)


def test_jpg_jpeg_png_and_grey_become_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "video"
    save(folder, "1.JPG", 10)
    save(folder, "2.jpeg", 20)
    Image.new("L", (6, 4), 30).save(folder / "3.png")
    Image.new("RGBA", (6, 4), (40, 40, 40, 255)).save(folder / "4.png")
    with open_stream(folder) as stream:
        frames = np.stack(list(stream))
    assert frames.shape == (4, 4, 6, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == [10, 20, 30, 40]


def test_segments_go_by_the_numbers_in_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "P01_01"
    for number in range(5, 21):
        save(folder, f"frame_{number:010d}.png", number)
    assert values(folder, (7, 10)) == [7, 8, 9, 10]
    assert count_frames(folder, (20, 20)) == 1


def test_segments_with_gaps_or_nothing_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "P01_02"
    for number in (1, 2, 5, 6):
        save(folder, f"frame_{number:04d}.png", number)
    with pytest.raises(VideoError, match=r"lacks 2 of the 4 frames numbered 2 to 5: 3, 4"):
        open_stream(folder, (2, 5))
    with pytest.raises(VideoError, match="no frames numbered 8 to 9"):
        open_stream(folder, (8, 9))
    with pytest.raises(VideoError, match="holds no frames"):
        open_stream(folder, (5, 4))
    save(folder, "again_5.png", 5)
    with pytest.raises(VideoError, match=r"frame 5 is there twice: again_5\.png and frame_0005\.png"):
        open_stream(folder, (5, 6))


def test_frames_that_arrive_later_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "video"
    save(folder, "1.png", 1)
    assert values(folder) == [1]
    save(folder, "2.png", 2)
    assert values(folder) == [1, 2]


def test_what_is_no_folder_of_frames(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(VideoError, match=r"empty: is a folder without \.jpg or \.png frames"):
        open_stream(empty)
    uneven = tmp_path / "uneven"
    save(uneven, "1.png", 1)
    save(uneven, "2.png", 2, size=(8, 4))
    with pytest.raises(VideoError, match="frame 1 is 8×4, those before are 6×4"):
        values(uneven)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_broken_frame_is_named(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "video"
    save(folder, f"1.{suffix}", 1, size=(64, 64))
    whole = (folder / f"1.{suffix}").read_bytes()
    for broken in (b"", b"not a picture", whole[: len(whole) // 2], whole[:20]):
        (folder / f"2.{suffix}").write_bytes(broken)
        with pytest.raises(VideoError, match=rf"2\.{suffix} can't be read") as failure:
            values(folder)
        assert "\n" not in str(failure.value)

"""Stills and previews, seen by their grey levels: frame n of a film is 20 + 2 · n."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from greys import WriteGrey, levels
from PIL import Image

from comix_fast.datasets import Video
from comix_fast.errors import VideoError
from comix_fast.pictures.stills import fitted, preview, spread, still, webp


def test_a_still_is_the_middle_frame(grey: WriteGrey, tmp_path: Path) -> None:
    video = Video("v", grey(tmp_path / "v.mp4", 81), None)
    (level,) = levels(still(video))
    assert level == pytest.approx(20 + 2 * 40, abs=3)
    assert still(video, 81) == still(video)


def test_a_segment_is_respected(grey: WriteGrey, tmp_path: Path) -> None:
    video = Video("v", grey(tmp_path / "v.mp4", 90), None, (60, 80))
    assert levels(still(video)) == pytest.approx([20 + 2 * 70], abs=3)
    moving = levels(preview(video, frames=3))
    assert moving == pytest.approx([20 + 2 * (60 + at) for at in (3, 10, 17)], abs=3)


def test_a_preview_is_the_whole_video_in_order(grey: WriteGrey, tmp_path: Path) -> None:
    video = Video("v", grey(tmp_path / "v.mp4", 96), None)
    encoded = preview(video)
    # Twelve parts of eight frames; the middle of the first is frame 4.
    assert levels(encoded) == pytest.approx([20 + 2 * (4 + 8 * part) for part in range(12)], abs=3)
    with Image.open(io.BytesIO(encoded)) as picture:
        assert (picture.info["loop"], picture.size) == (0, (64, 48))
    assert preview(video, 96) == encoded


def test_a_short_video_gives_each_frame_once(grey: WriteGrey, tmp_path: Path) -> None:
    video = Video("v", grey(tmp_path / "v.mp4", 3), None)
    assert levels(preview(video, quality=100)) == pytest.approx([20, 22, 24], abs=1)
    video = Video("v", grey(tmp_path / "one.mp4", 1), None)
    assert len(levels(preview(video))) == 1


@pytest.mark.parametrize(("n_frames", "count", "expected"), [(5, 1, [2]), (12, 3, [2, 6, 10]), (2, 5, [0, 1])])
def test_frames_are_spread_evenly(n_frames: int, count: int, expected: list[int]) -> None:
    assert spread(n_frames, count) == expected


def test_spread_frames_exist_and_ascend() -> None:
    for n_frames in range(1, 60):
        for count in range(1, 20):
            numbers = spread(n_frames, count)
            assert len(set(numbers)) == len(numbers) == min(n_frames, count)
            assert numbers == sorted(numbers) and numbers[0] >= 0 and numbers[-1] < n_frames


def test_the_aspect_is_kept(grey: WriteGrey, tmp_path: Path) -> None:
    assert fitted(640, 360, 128) == (128, 72)
    assert fitted(360, 640, 128) == (72, 128)
    assert fitted(4000, 2, 128) == (128, 1)
    assert fitted(20, 10, 128) == (20, 10)
    video = Video("v", grey(tmp_path / "v.mp4", 4, size=(96, 192)), None)
    for encoded in (still(video, longest=48), preview(video, longest=48)):
        with Image.open(io.BytesIO(encoded)) as picture:
            assert picture.size == (48, 24)


def test_a_video_that_can_not_be_read_says_so(grey: WriteGrey, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for path in (tmp_path / "broken.mp4", tmp_path / "gone.mp4"):
        for n_frames in (None, 30):
            with pytest.raises(VideoError):
                preview(Video("v", path, None), n_frames)
    with pytest.raises(VideoError, match="ends after 10 frames"):
        still(Video("v", grey(tmp_path / "v.mp4", 10), None), 80)


def test_nothing_to_encode() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        webp([], 50)

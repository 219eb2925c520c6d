"""Folders of frames: links, gaps, bombs, pipes, and pictures of every kind that .jpg and .png may hold."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hostile_files import PYAV, in_little_memory, png, png_that_declares, read, refusal
from PIL import Image

from comix_fast.errors import VideoError
from comix_fast.video import UNLIMITED, Limits, count_frames, open_stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three frames of 6 × 4, numbered from 1."""
    made = tmp_path / "video"
    made.mkdir()
    for number in (1, 2, 3):
        (made / f"{number}.png").write_bytes(png(6, 4, "RGB", (10 * number,) * 3))
    return made


def shades(folder: Path) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in read(folder)]


def test_links_are_followed_and_broken_ones_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(png(6, 4, "RGB", (99, 99, 99)))
    (folder / "4.png").symlink_to(tmp_path / "elsewhere.png")
    assert shades(folder) == [10, 20, 30, 99]
    (folder / "5.png").symlink_to(tmp_path / "gone.png")
    assert refusal(folder).startswith("5.png can't be read ([Errno 2] No such file")
    (folder / "5.png").unlink()
    (folder / "5.png").symlink_to(folder / "5.png")
    assert "Too many levels of symbolic links" in refusal(folder)


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/dev/null", "folder", "empty"])
def test_what_is_no_file_is_not_waited_for(folder: Path, target: str) -> None:
    path = folder / "2b.jpg"
    if target == "pipe":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    elif target == "empty":
        path.touch()
    else:
        path.symlink_to(target)
    kinds = {"pipe": "is a pipe", "folder": "is a folder", "empty": "is empty"}
    assert refusal(folder).startswith(f"2b.jpg can't be read: it {kinds.get(target, 'is a device')}")


def test_gaps_are_no_matter_without_a_segment(folder: Path) -> None:
    (folder / "2.png").unlink()
    assert shades(folder) == [10, 30]
    with pytest.raises(VideoError, match="lacks 1 of the 3 frames numbered 1 to 3: 2"):
        open_stream(folder, (1, 3))


def test_a_segment_that_never_ends(folder: Path) -> None:
    """A list may say so; to look for each of its frames would take for ever."""
    with pytest.raises(VideoError, match=r"lacks 9,223,372,036,854,775,804 of the .* frames numbered 1 to .*: 4, 5, 6"):
        open_stream(folder, (1, 2**63 - 1))


def test_a_picture_of_another_size(folder: Path) -> None:
    (folder / "4.png").write_bytes(png(7, 4, "RGB"))
    assert refusal(folder) == "frame 3 is 7×4, those before are 6×4"


PICTURES = {
    "grey": (Image.new("L", (6, 4), 77), [77, 77, 77]),
    "black and white": (Image.new("1", (6, 4), 1), [255, 255, 255]),
    "alpha": (Image.new("RGBA", (6, 4), (90, 20, 30, 0)), [90, 20, 30]),
    "grey with alpha": (Image.new("LA", (6, 4), (90, 3)), [90, 90, 90]),
    "palette": (Image.new("RGB", (6, 4), (10, 20, 30)).quantize(4), [10, 20, 30]),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_png_of_every_kind_gives_its_colours_without_alpha(folder: Path, kind: str) -> None:
    picture, expected = PICTURES[kind]
    picture.save(folder / "1.png")
    assert read(folder)[0][0, 0].tolist() == expected


def test_a_palette_with_transparency_is_read_without_a_warning(folder: Path) -> None:
    PICTURES["palette"][0].save(folder / "1.png", transparency=b"\x00\x80\xff\x10")
    assert read(folder)[0][0, 0].tolist() == [10, 20, 30]


def test_sixteen_bits_of_grey_are_refused_and_of_colour_read(folder: Path) -> None:
    Image.fromarray(np.full((4, 6), 30_000, np.uint16)).save(folder / "1.png")
    assert refusal(folder).startswith("1.png has 16 bits of grey; convert it to 8")


def test_cmyk(folder: Path) -> None:
    Image.new("CMYK", (6, 4), (0, 100, 200, 50)).save(folder / "1.jpg", quality=100)
    (folder / "1.png").unlink()
    assert np.abs(read(folder)[0][0, 0].astype(int) - [205, 125, 44]).max() <= 3


def test_an_animation_gives_its_first_picture(folder: Path) -> None:
    first, second = (Image.new("RGB", (6, 4), (value,) * 3) for value in (40, 200))
    first.save(folder / "1.png", save_all=True, append_images=[second])
    assert shades(folder) == [40, 20, 30]
    assert count_frames(folder) == 3


def test_exif_orientation_is_not_looked_at(folder: Path) -> None:
    """Pixels as they are stored, as the published code takes them; frames cut from videos carry none."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4), (9, 9, 9)).save(folder / "2.jpg", exif=exif)
    assert [frame.shape for frame in read(folder)] == [(4, 6, 3)] * 4


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
def test_a_suffix_that_lies(folder: Path, form: str) -> None:
    """JPEG and PNG go by their first bytes; nothing else is tried, least of all by PIL's forty readers."""
    Image.new("RGB", (6, 4), (50, 50, 50)).save(folder / "1.png", form)
    assert refusal(folder) == "1.png can't be read (it is neither a JPEG nor a PNG file)"
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (50, 50, 50)).save(buffer, "JPEG")
    (folder / "1.png").write_bytes(buffer.getvalue())
    assert shades(folder)[0] == 50


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_cut_pictures(folder: Path, suffix: str, rng: np.random.Generator) -> None:
    path = folder / f"1.{suffix}"
    Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    # Behind the last pixel stand a checksum and an end mark, which PIL can do without.
    for kept in range(1, len(whole) - 30, 7):
        path.write_bytes(whole[:kept])
        assert refusal(folder).startswith(f"1.{suffix} can't be read (")


def test_a_name_that_would_move_the_cursor_is_written_out(folder: Path) -> None:
    (folder / "0\x1b[2J\u202e.png").write_bytes(b"nothing")
    assert refusal(folder).startswith(r"0\x1b[2J\u202e.png can't be read")


def test_a_picture_beyond_the_limit_is_told_by_its_header(folder: Path) -> None:
    (folder / "2.png").write_bytes(png_that_declares(9_000, 9_000))
    expected = "2.png has pictures of 9,000×9,000 = 81,000,000 pixels, more than the 67,108,864 allowed (--max-pixels"
    assert refusal(folder).startswith(expected)
    assert refusal(folder, Limits(max_pixels=23)).startswith("1.png has pictures of 6×4 = 24 pixels")


@pytest.mark.parametrize("side", [12_000, 40_000])
def test_pil_s_own_limit_neither_warns_nor_stops_whoever_lifts_ours(folder: Path, side: int) -> None:
    """It warns from 89 million pixels on and refuses from twice as many, limits of the process, not of a reading."""
    (folder / "1.png").write_bytes(png_that_declares(side, side))
    said = refusal(folder, Limits(max_pixels=side * side - 1))
    assert said.startswith(f"1.png has pictures of {side:,}×{side:,}")
    if side == 12_000:
        (folder / "1.png").write_bytes(png(side, 10_000))
        with open_stream(folder, None, PYAV.limited(UNLIMITED)) as stream:
            assert next(iter(stream)).shape == (10_000, side, 3)


def test_a_bomb_takes_no_memory(folder: Path) -> None:
    (folder / "1.png").write_bytes(png_that_declares(60_000, 60_000))
    code = """
        from comix_fast.video import open_stream
        from comix_fast.errors import VideoError
        room()
        try:
            list(open_stream(sys.argv[1]))
        except VideoError as error:
            print(error.message)
    """
    assert "60,000×60,000" in in_little_memory(code, 50, folder)


def test_more_files_than_allowed(folder: Path) -> None:
    limits = Limits(max_frames=2)
    assert refusal(folder, limits).startswith("has 3 files of frames or more, more than the 2 allowed (--max-frames")
    with pytest.raises(VideoError, match="--max-frames"):
        count_frames(folder, (1, 2), PYAV.limited(limits))
    assert len(read(folder, Limits(max_frames=3))) == 3

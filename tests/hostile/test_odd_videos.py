"""Videos that are odd and whole, and headers that lie about rates, lengths and turns: what each of them gives."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import av
import numpy as np
import pytest
from hostile_files import change, encode, greys, mux, png, read, refusal

from comix_fast.errors import VideoError
from comix_fast.video import UNLIMITED, count_frames, open_stream

GREYS = [20 + 10 * number for number in range(12)]
TURN = 65536  # of a display matrix: 1 in 16.16 fixed point


@pytest.mark.parametrize(
    ("name", "encoder", "pixels"),
    [
        ("ten.mp4", "libx264", "yuv420p10le"),
        ("ten.mkv", "ffv1", "yuv420p10le"),
        ("twelve.mkv", "ffv1", "yuv420p12le"),
        ("grey16.mkv", "ffv1", "gray16le"),
        ("full.mp4", "libx264", "yuv444p"),
    ],
)
def test_more_bits_come_out_as_eight(tmp_path: Path, name: str, encoder: str, pixels: str) -> None:
    frames = read(encode(tmp_path / name, encoder, pixels=pixels))
    assert all(frame.dtype == np.uint8 for frame in frames)
    assert greys(frames) == GREYS


@pytest.mark.parametrize(
    ("name", "encoder", "pixels"), [("p.mov", "prores_ks", "yuva444p10le"), ("v.webm", "libvpx-vp9", "yuva420p")]
)
def test_alpha_is_left_out(tmp_path: Path, name: str, encoder: str, pixels: str) -> None:
    frames = read(encode(tmp_path / name, encoder, pixels=pixels))
    assert frames[0].shape == (48, 64, 3)
    assert greys(frames) == GREYS


def test_what_lies_under_full_transparency_is_shown(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mov", "png", [png(16, 12, "RGBA", (90, 40, 10, 0))] * 2, (12, 16), "rgba")
    assert read(path)[0][0, 0].tolist() == [90, 40, 10]


@pytest.mark.parametrize("size", [(47, 63), (1, 1), (1, 64), (49, 3)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    for name, encoder, pixels in (("a.avi", "rawvideo", "bgr24"), ("a.mp4", "libx264", "yuv444p")):
        frames = read(encode(tmp_path / name, encoder, 3, size, pixels))
        assert [frame.shape for frame in frames] == [(*size, 3)] * 3
        assert greys(frames) == GREYS[:3]


def test_one_frame_and_none(tmp_path: Path) -> None:
    assert len(read(encode(tmp_path / "one.mp4", n_frames=1))) == 1
    assert refusal(encode(tmp_path / "none.avi", n_frames=0))


def test_frames_that_change_size_midway(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mov", "png", [png(16, 12)] * 3 + [png(20, 12)], (12, 16))
    assert refusal(path) == "frame 3 is 20×12, those before are 16×12"


def test_a_variable_rate_changes_nothing(tmp_path: Path) -> None:
    """Frames are taken in the order in which they are shown, each once; when they are shown is not looked at."""
    even = read(encode(tmp_path / "even.mkv", "ffv1"))
    uneven = encode(tmp_path / "uneven.mkv", "ffv1", times=[0, 1, 2, 10, 11, 50, 51, 52, 53, 90, 200, 201])
    assert np.array_equal(np.stack(read(uneven)), np.stack(even))
    same = encode(tmp_path / "same.mkv", "ffv1", times=[0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])
    assert np.array_equal(np.stack(read(same)), np.stack(even))


def test_frames_that_an_edit_list_hides_are_left_out(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mov", "mpeg4", times=range(-5, 7))
    assert greys(read(path)) == GREYS[5:]
    assert count_frames(path) == 7


def test_negative_time_stamps_without_an_edit_list_are_as_good_as_any(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", "ffv1", times=range(-5, 7))
    assert greys(read(path)) == GREYS


@pytest.mark.parametrize(
    ("scale", "rate", "fps"), [(0, 0, 25), (0, 25, 25), (1, 0, 25), (1, 10**9, 1e9), (10**9, 10**9, 1)]
)
def test_rates_that_lie(tmp_path: Path, scale: int, rate: int, fps: float) -> None:
    """A rate is noted and decides nothing. Where there is none, FFmpeg says 25."""
    path = change(encode(tmp_path / "a.avi"), b"vids", 20, "<II", scale, rate)
    with open_stream(path, decoder="pyav") as stream:
        assert stream.fps == fps
        assert greys(list(stream)) == GREYS


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -5.0, 1e300, 0.0])
def test_lengths_that_are_none(tmp_path: Path, seconds: float) -> None:
    path = change(encode(tmp_path / "a.mkv", "ffv1"), b"\x44\x89\x88", 3, ">d", seconds)
    assert greys(read(path)) == GREYS


def test_frame_counts_that_lie(tmp_path: Path) -> None:
    path = change(encode(tmp_path / "a.avi"), b"vids", 32, "<I", 2**31 - 1)
    assert refusal(path).startswith("declares 85,899,345")
    assert refusal(path, UNLIMITED).startswith("is cut short: it declares 85899345")
    short = change(encode(tmp_path / "b.avi"), b"vids", 32, "<I", 3)
    assert greys(read(short)) == GREYS
    # A table of samples all of one byte, so that none of them is listed: two thousand million frames in a kilobyte.
    for n_frames in (2**31 - 1, 170_000_000):
        movie = change(encode(tmp_path / "c.mp4"), b"stsz", 8, ">II", 1, n_frames)
        change(movie, b"stsc", 16, ">I", n_frames)
        change(movie, b"stts", 12, ">I", n_frames)
        assert refusal(movie)


def turned(path: Path, degrees: float) -> Path:
    """A telephone's film, its display matrix turned clockwise."""
    cosine, sine = (int(TURN * function(math.radians(degrees))) for function in (math.cos, math.sin))
    return change(path, b"tkhd", 44, ">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("degrees", "is_upright"),
    [(0, True), (90, False), (180, True), (270, False), (30, True), (44, True), (50, False), (120, False), (200, True)],
)
def test_turns_are_taken_to_the_nearest_quarter(tmp_path: Path, degrees: float, is_upright: bool) -> None:
    frame = read(turned(encode(tmp_path / "a.mp4"), degrees))[0]
    assert frame.shape == ((48, 64, 3) if is_upright else (64, 48, 3))


@pytest.mark.parametrize("matrix", [[0] * 9, [0] * 8 + [1 << 30], [2**31 - 1] * 9, [-(2**31)] * 9])
def test_a_matrix_that_turns_nothing(tmp_path: Path, matrix: list[int]) -> None:
    path = change(encode(tmp_path / "a.mp4"), b"tkhd", 44, ">9i", *matrix)
    with av.open(str(path)) as container:
        rotation = next(container.decode(video=0)).rotation
    shape = read(path)[0].shape
    assert shape == ((48, 64, 3) if abs(rotation) > 180 or round(rotation / 90) % 2 == 0 else (64, 48, 3))
    if not any(matrix[:8]):
        assert shape == (48, 64, 3)


def test_bytes_changed_at_random_give_frames_or_our_error(tmp_path: Path, rng: np.random.Generator) -> None:
    kinds = [
        ("a.mp4", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.mkv", "libvpx-vp9"),
        ("a.ts", "mpeg2video"),
        ("b.avi", "mjpeg"),
    ]
    for name, encoder in kinds:
        path = encode(tmp_path / name, encoder, pixels="yuvj420p" if encoder == "mjpeg" else "yuv420p")
        whole = path.read_bytes()
        for _ in range(40):
            changed = bytearray(whole)
            for at in rng.integers(0, min(len(whole), 2000), 8):
                changed[at] = rng.integers(256)
            path.write_bytes(changed)
            with contextlib.suppress(VideoError):
                assert all(frame.dtype == np.uint8 for frame in read(path))

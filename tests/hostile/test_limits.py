"""The limits on pixels, frames and seconds: what they refuse, when, how they say it, and that they change nothing."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile_files import PYAV, change, encode, in_little_memory, mux, png, png_that_declares, read, refusal

from comix_fast.errors import ComixError, VideoError
from comix_fast.video import UNLIMITED, Decoder, Limits, choose_decoder, chosen_frames, count_frames, index_frames
from comix_fast.video.decoder import DecoderError

SET = "sets the limit, 0 lifts it"


@pytest.fixture(params=["pyav", "torchcodec"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    if request.param == "torchcodec" and importlib.util.find_spec("torchcodec") is None:
        pytest.skip("torchcodec is not installed")
    try:
        return choose_decoder(request.param)
    except DecoderError as error:
        pytest.skip(error.message)


def test_the_usual_limits_are_beyond_honest_videos() -> None:
    usual = Limits()
    assert usual.max_pixels >= 2 * 7680 * 4320
    assert usual.max_frames >= 24 * 3600 * 60
    assert usual.max_seconds >= 24 * 3600
    assert PYAV.limits == usual


def test_limits_are_no_part_of_what_a_decoder_is() -> None:
    tight = PYAV.limited(Limits(1, 2, 3))
    assert tight == PYAV
    assert tight.limits == Limits(1, 2, 3)
    assert replace(tight, limits=PYAV.limits) == tight


@pytest.mark.parametrize(("name", "value"), [("max_pixels", -1), ("max_frames", -5), ("max_seconds", float("nan"))])
def test_limits_that_are_none(name: str, value: float) -> None:
    with pytest.raises(ComixError, match=f"--{name.replace('_', '-')} is {value}"):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [Limits(64 * 48, 12, 0.44), UNLIMITED])
def test_a_video_at_its_limits_is_read_as_without(tmp_path: Path, decoder: Decoder, limits: Limits) -> None:
    path = encode(tmp_path / "a.mp4")
    assert np.array_equal(np.stack(read(path, limits, decoder)), np.stack(read(path, None, decoder)))
    assert count_frames(path, None, decoder.limited(limits)) == 12


@pytest.mark.parametrize(
    ("limits", "found", "option"),
    [
        (Limits(max_pixels=3071), "has pictures of 64×48 = 3,072 pixels, more than the 3,071 allowed", "--max-pixels"),
        (Limits(max_frames=11), "has 12 frames or more, more than the 11 allowed", "--max-frames"),
        (Limits(max_seconds=0.3), "lasts 0.32 s or more, more than the 0.3 s allowed", "--max-seconds"),
    ],
)
def test_one_beyond_a_limit_is_refused(
    tmp_path: Path, decoder: Decoder, limits: Limits, found: str, option: str
) -> None:
    path = encode(tmp_path / "a.mp4")
    assert refusal(path, limits, decoder) == f"{found} ({option} {SET})"
    with pytest.raises(VideoError, match=option):
        count_frames(path, None, decoder.limited(limits))


def test_frames_before_the_limit_are_given_out_and_no_more_are_decoded(tmp_path: Path) -> None:
    numbers = []
    with pytest.raises(VideoError, match="has 6 frames or more"):
        for number, _ in chosen_frames(encode(tmp_path / "a.avi"), None, [1, 4, 9], PYAV.limited(Limits(max_frames=5))):
            numbers.append(number)
    assert numbers == [1, 4]


def test_an_index_obeys_them(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4")
    for limits, option in ((Limits(max_frames=5), "frames"), (Limits(max_seconds=0.2), "seconds")):
        for n_frames in (None, 12):
            with pytest.raises(VideoError, match=f"--max-{option}"):
                index_frames(path, n_frames, limits)
    with pytest.raises(VideoError, match="--max-pixels"):
        index_frames(path, 12, Limits(max_pixels=100))
    assert len(index_frames(path, 12, UNLIMITED).pts) == 12


@pytest.mark.parametrize("declared", [(12, 16), (4000, 5000)])
def test_a_header_that_lies_about_the_size(tmp_path: Path, decoder: Decoder, declared: tuple[int, int]) -> None:
    path = mux(tmp_path / "lie.mov", "png", [png(5000, 4000)] * 2, declared)
    assert "pictures of 5,000×4,000 = 20,000,000 pixels" in refusal(path, Limits(max_pixels=19_999_999), decoder)
    assert read(path, Limits(max_pixels=20_000_000), decoder)[0].shape == (4000, 5000, 3)


def test_a_video_that_grows_midway(tmp_path: Path, decoder: Decoder) -> None:
    path = mux(tmp_path / "grows.mov", "png", [png(16, 12)] * 3 + [png(400, 400)], (12, 16))
    assert "--max-pixels" in refusal(path, Limits(max_pixels=10_000), PYAV)
    assert "400×400" in refusal(path, UNLIMITED, PYAV)
    assert refusal(path, Limits(max_pixels=10_000), decoder)


@pytest.mark.parametrize("at", [0, 3])
def test_pictures_far_beyond_the_limit_take_no_memory(tmp_path: Path, at: int) -> None:
    """12,000×12,000 pixels in 140 kB. FFmpeg itself refuses them, and what it has not measured is not named."""
    payloads = [png(16, 12)] * 6
    payloads[at] = png(12_000, 12_000)
    path = mux(tmp_path / "bomb.mov", "png", payloads, (12, 16))
    said = in_little_memory(
        """
        from comix_fast.video import Limits, open_stream
        from comix_fast.video.decoder import choose_decoder
        from comix_fast.errors import VideoError
        decoder = choose_decoder("pyav").limited(Limits(max_pixels=1_000_000))
        room()
        try:
            with open_stream(sys.argv[1], None, decoder) as stream:
                print(len(list(stream)))
        except VideoError as error:
            print(error.message)
        """,
        100,
        path,
    )
    assert f"can't be decoded after frame {at} " in said
    assert "or far more than the 1,000,000 pixels allowed (--max-pixels sets the limit, 0 lifts it)" in said


def test_a_hundred_thousand_by_a_hundred_thousand(tmp_path: Path) -> None:
    for name, side in (("a.mov", 100_000), ("b.mov", 46_000)):
        path = mux(tmp_path / name, "png", [png_that_declares(side, side)] * 3, (12, 16))
        assert refusal(path).startswith("can't be decoded after frame 0")
    raw = encode(tmp_path / "raw.avi", "rawvideo", 3, pixels="bgr24")
    assert "--max-pixels" in refusal(change(raw, b"strf", 12, "<ii", 100_000, 100_000))


def test_a_length_that_is_declared_absurd_is_refused_before_reading(tmp_path: Path) -> None:
    """Such a file is refused in any case: it ends earlier than it declares, or it really is too long."""
    path = change(encode(tmp_path / "a.mkv"), b"\x44\x89\x88", 3, ">d", 1e12)
    assert refusal(path).startswith("declares 1,000,000,000 s or more, more than the 172,800 s allowed (--max-seconds")
    assert "is cut short: it declares 1000000000.00 s" in refusal(path, UNLIMITED)


def test_a_gap_of_hours_between_two_time_stamps(tmp_path: Path) -> None:
    path = encode(tmp_path / "gap.mov", "mpeg4", 2, times=[0, 25 * 10_000])
    hours = Limits(max_seconds=7200)
    assert refusal(path, hours).startswith("lasts 10,000 s or more, more than the 7,200 s allowed (--max-seconds")
    assert len(read(path)) == 2
    # Late time stamps alone are no length: cameras count from when they were switched on.
    late = encode(tmp_path / "late.mkv", "ffv1", 3, times=[25 * 200_000 + more for more in range(3)])
    with pytest.raises(AssertionError, match="was read: 3 frames"):
        refusal(late, Limits(max_seconds=1))

"""Frames chosen from a video are those of a whole reading, byte by byte, whichever way they were reached."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from comix_fast.errors import VideoError
from comix_fast.video import DecoderError, choose_decoder, chosen, chosen_frames, index_frames, open_stream
from comix_fast.video.openings import Kind, looking
from comix_fast.video.pyav_files import PyavStream

Write = Callable[..., Path]
Pictures = Callable[..., np.ndarray]
Draws = list[list[int]]

X264 = {"sc_threshold": "0", "preset": "veryfast"}
DRAWS: Draws = [[0], [149], [0, 149], [7, 8, 9, 60, 61, 62, 110, 111], [30, 90, 91, 148], list(range(70, 90))]
N_FRAMES = 150

SEEKING = {
    "mpeg4.avi": ("mpeg4", {"g": "12", "sc_threshold": "1000000000"}),
    "mpeg4.mp4": ("mpeg4", {"g": "12"}),
    "bframes.mp4": ("libx264", {**X264, "g": "12", "bf": "3"}),
    "bframes.mkv": ("libx264", {**X264, "g": "12", "bf": "3", "x264-params": "b-pyramid=normal"}),
    "in-band.avi": ("libx264", {**X264, "g": "20", "bf": "0"}),
    "every-other.mp4": ("libx264", {**X264, "g": "2", "bf": "1"}),
    "vp9.webm": ("libvpx-vp9", {"g": "15", "deadline": "realtime", "cpu-used": "8"}),
    "mjpeg.avi": ("mjpeg", {}),
}
"""File to encoder and options: decoding may begin at several places in these."""

STEADY = {
    "long-group.mp4": ("libx264", {**X264, "g": "250", "bf": "3"}),
    "open.mp4": ("libx264", {**X264, "g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "refresh.mp4": ("libx264", {**X264, "g": "12", "bf": "0", "x264-params": "intra-refresh=1"}),
    "mpeg4-b.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4-b.mp4": ("mpeg4", {"g": "12", "bf": "2"}),
    "unlisted.ts": ("libx264", {**X264, "g": "12"}),
    "vp8.webm": ("libvpx", {"g": "12", "deadline": "realtime"}),
}
"""These have one group of pictures, or keyframes that one can't begin with, or nothing that says one can."""


@pytest.fixture
def moving(pictures: Pictures) -> np.ndarray:
    return pictures(N_FRAMES)


@pytest.fixture
def seeks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times that were sought."""
    sought: list[int] = []
    seek = PyavStream.seek

    def noted(self: PyavStream, timestamp: int) -> None:
        sought.append(timestamp)
        seek(self, timestamp)

    monkeypatch.setattr(PyavStream, "seek", noted)
    return sought


def whole(path: Path, segment: tuple[int, int] | None = None) -> list[np.ndarray]:
    with open_stream(path, segment, "pyav") as stream:
        return list(stream)


def check(path: Path, draws: Draws, segment: tuple[int, int] | None = None, **given: Any) -> None:
    frames = whole(path, segment)
    for numbers in draws:
        found = list(chosen_frames(path, segment, numbers, "pyav", **given))
        assert [number for number, _ in found] == numbers
        for number, frame in found:
            assert frame.dtype == np.uint8
            assert np.array_equal(frame, frames[number]), f"frame {number} of {numbers}"


@pytest.mark.parametrize("name", SEEKING)
def test_seeking_gives_the_same_bytes(write_video: Write, moving: np.ndarray, seeks: list[int], name: str) -> None:
    encoder, options = SEEKING[name]
    path = write_video(name, encoder, moving, options=options)
    index = index_frames(path, N_FRAMES)
    assert len(index.openings) >= 5
    assert index.openings == index_frames(path).openings, "counting the frames says the same"
    check(path, DRAWS, index=index)
    assert len(seeks) >= 6
    seeks.clear()
    check(path, DRAWS, n_frames=N_FRAMES)
    assert len(seeks) >= 3, "an index is made where it pays"
    seeks.clear()
    check(path, DRAWS)
    assert not seeks, "without a number of frames nothing is certain"


@pytest.mark.parametrize("name", STEADY)
def test_what_is_in_doubt_is_read_in_order(write_video: Write, moving: np.ndarray, seeks: list[int], name: str) -> None:
    encoder, options = STEADY[name]
    path = write_video(name, encoder, moving, options=options)
    index = index_frames(path, N_FRAMES)
    assert index.openings == ()
    check(path, DRAWS, index=index)
    check(path, DRAWS, n_frames=N_FRAMES)
    assert not seeks


def test_marks_of_containers_are_not_enough(write_video: Write, moving: np.ndarray) -> None:
    """What the test above refuses is marked as keyframes all right."""
    for name in ("open.mp4", "refresh.mp4", "mpeg4-b.mp4"):
        encoder, options = STEADY[name]
        with av.open(str(write_video(name, encoder, moving, options=options))) as container:
            assert sum(packet.is_keyframe for packet in container.demux(video=0)) >= 5, name


def test_only_what_is_needed(write_video: Write, moving: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video("a.mp4", "libx264", moving, options={**X264, "g": "12", "bf": "2"})
    index, n_decoded, n_converted = index_frames(path, N_FRAMES), 0, 0
    decoded, rgb = PyavStream.decoded, PyavStream.rgb

    def counted(self: PyavStream, packets: Any) -> Iterator[av.VideoFrame]:
        nonlocal n_decoded
        for frame in decoded(self, packets):
            n_decoded += 1
            yield frame

    def converted(self: PyavStream, frame: av.VideoFrame) -> np.ndarray:
        nonlocal n_converted
        n_converted += 1
        return rgb(self, frame)

    monkeypatch.setattr(PyavStream, "decoded", counted)
    monkeypatch.setattr(PyavStream, "rgb", converted)
    list(chosen_frames(path, None, [5, 50, 51, 122], index=index))
    # 0 to 5; 48 to 51; 120 to 122.
    assert (n_converted, n_decoded) == (4, 6 + 4 + 3)
    n_decoded = n_converted = 0
    list(chosen_frames(path, None, [5, 50]))
    assert (n_converted, n_decoded) == (2, 51)


def test_segments_count_from_their_first_frame(write_video: Write, moving: np.ndarray, seeks: list[int]) -> None:
    path = write_video("a.mp4", "libx264", moving, options={**X264, "g": "12", "bf": "2"})
    draws = [[0], [0, 1, 79], [3, 40, 41]]
    check(path, draws, (40, 119))
    check(path, draws, (40, 119), n_frames=80)
    assert not seeks
    check(path, draws, (40, 119), index=index_frames(path, N_FRAMES))
    assert seeks
    for given in ({}, {"index": index_frames(path, N_FRAMES)}):
        with pytest.raises(VideoError, match="ends after 80 frames; frame 80"):
            list(chosen_frames(path, (40, 119), [5, 80], **given))
        with pytest.raises(VideoError, match="150 frames, too few for its segment"):
            list(chosen_frames(path, (100, 160), [55], **given))


def test_numbers_are_ascending_each_once(write_video: Write) -> None:
    path = write_video("a.avi")
    for numbers in ([3, 3], [4, 2], [-1, 2]):
        with pytest.raises(ValueError, match="ascending, each once"):
            chosen_frames(path, None, numbers)
    assert list(chosen_frames(path, None, [])) == []


def test_numbers_past_the_end(write_video: Write, moving: np.ndarray, tmp_path: Path) -> None:
    path = write_video("a.avi", "mpeg4", moving, options={"g": "12"})
    for given in ({}, {"n_frames": N_FRAMES}, {"n_frames": 400}, {"index": index_frames(path, N_FRAMES)}):
        with pytest.raises(VideoError, match=r"a\.avi: ends after 150 frames; frame 150 \(counted from 0\)"):
            list(chosen_frames(path, None, [100, 150], **given))
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.new("RGB", (6, 4)).save(folder / "1.png")
    with pytest.raises(VideoError, match="ends after 1 frames; frame 7"):
        list(chosen_frames(folder, None, [0, 7]))


def test_a_wrong_number_of_frames_only_costs_time(write_video: Write, moving: np.ndarray, seeks: list[int]) -> None:
    path = write_video("a.avi", "mpeg4", moving, options={"g": "12"})
    for wrong in (N_FRAMES - 1, N_FRAMES + 1):
        assert index_frames(path, wrong).openings == ()
        check(path, DRAWS, n_frames=wrong)
    assert not seeks


@pytest.mark.parametrize("name", ["mpeg4.avi", "bframes.mp4", "bframes.mkv"])
def test_cut_files_are_noticed(write_video: Write, moving: np.ndarray, tmp_path: Path, name: str) -> None:
    encoder, options = SEEKING[name]
    path = write_video(name, encoder, moving, options=options, container_options={"movflags": "faststart"})
    index = index_frames(path, N_FRAMES)
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    for numbers, given in itertools.product(DRAWS, ({}, {"n_frames": N_FRAMES}, {"index": index})):
        with pytest.raises(VideoError, match=f"cut-{name}: "):
            list(chosen_frames(cut, None, numbers, **given))
    with pytest.raises(VideoError):
        index_frames(cut, N_FRAMES)


def test_turned_and_odd_sizes(write_video: Write, pictures: Pictures) -> None:
    odd = pictures(N_FRAMES, width=47, height=33)
    path = write_video("odd.avi", "mpeg4", odd, options={"g": "12"})
    check(path, DRAWS, index=index_frames(path, N_FRAMES))
    path = write_video("turned.mp4", "libx264", pictures(N_FRAMES), options={**X264, "g": "12"}, rotation=90)
    check(path, DRAWS, index=index_frames(path, N_FRAMES))


def rewrite(path: Path, new: Path, times: Callable[[int], int], *more: Path) -> Path:
    """Packets of files, one after another, with times of their own; `times` gives ticks of 1/1000 s."""
    with av.open(str(path)) as first, av.open(str(new), "w") as out:
        stream, n_before = out.add_stream_from_template(first.streams.video[0]), 0
        for file in (path, *more):
            with av.open(str(file)) as container:
                packets = [packet for packet in container.demux(video=0) if packet.size]
            place = {pts: number for number, pts in enumerate(sorted(packet.pts for packet in packets))}
            for number, packet in enumerate(packets):
                packet.time_base = Fraction(1, 1000)
                packet.pts = times(n_before + place[packet.pts])
                packet.dts = times(n_before + number) - 200
                packet.duration = 10
                packet.stream = stream
                out.mux(packet)
            n_before += len(packets)
    return new


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_variable_frame_rate(write_video: Write, moving: np.ndarray, seeks: list[int], suffix: str) -> None:
    path = write_video("even.mp4", "libx264", moving, options={**X264, "g": "12", "bf": "3"})
    uneven = rewrite(path, path.with_name(f"uneven.{suffix}"), lambda number: 200 + number * 20 + number * 7 % 19)
    index = index_frames(uneven, N_FRAMES)
    check(uneven, DRAWS, index=index)
    check(uneven, DRAWS)
    assert len(index.openings) > 5
    assert seeks


def test_an_edit_list_that_leaves_frames_out(write_video: Write, moving: np.ndarray) -> None:
    path = write_video("full.mp4", "libx264", moving, options={**X264, "g": "12", "bf": "3"})
    edited = rewrite(path, path.with_name("edited.mp4"), lambda number: number * 40 - 600)
    n_frames = len(whole(edited))
    assert n_frames < N_FRAMES, "the edit list has left nothing out; this tests nothing"
    draws = [[0], [n_frames - 1], [5, 60, 61, n_frames - 2]]
    for given in ({}, {"n_frames": n_frames}, {"index": index_frames(edited)}):
        check(edited, draws, **given)


def test_headers_that_change_on_the_way(write_video: Write, moving: np.ndarray) -> None:
    """Each is fine alone; a decoder that jumps into the second from the first would have the wrong headers."""
    ways = [
        write_video(f"{entropy}.avi", "libx264", moving, options={**X264, "g": "12", "bf": "0", "coder": entropy})
        for entropy in ("vlc", "ac")
    ]
    both = rewrite(ways[0], ways[0].with_name("both.avi"), lambda number: 200 + number * 40, ways[1])
    index = index_frames(both, 2 * N_FRAMES)
    assert index_frames(ways[0], N_FRAMES).openings
    assert index.openings == ()
    check(both, [[0, 100, 200, 299]], index=index)


def test_an_index_of_another_file_is_not_used(write_video: Write, moving: np.ndarray, seeks: list[int]) -> None:
    path = write_video("a.avi", "mpeg4", moving, options={"g": "12"})
    index = index_frames(path, N_FRAMES)
    path = write_video("a.avi", "mpeg4", moving[::-1], options={"g": "17"})
    check(path, DRAWS, index=index)
    assert not seeks


def test_where_a_seek_leads_elsewhere(write_video: Write, moving: np.ndarray, seeks: list[int]) -> None:
    """Each frame after a seek has to come at its time; if one doesn't, all is read in order."""
    path = write_video("a.mp4", "libx264", moving, options={**X264, "g": "12", "bf": "2"})
    index = index_frames(path, N_FRAMES)
    late = dataclasses.replace(index, targets=tuple(time + 20_000 for time in index.targets))
    shifted = dataclasses.replace(index, pts=np.where(np.arange(N_FRAMES) > 61, index.pts + 1, index.pts))
    # Too early by a tick, they lead to the opening before, which the index knows as well.
    early = dataclasses.replace(index, targets=tuple(time - 1 for time in index.targets))
    for doubtful in (late, shifted, early):
        seeks.clear()
        check(path, DRAWS, index=doubtful)
        assert seeks


def test_threads_share_an_index(write_video: Write, moving: np.ndarray) -> None:
    path = write_video("a.mp4", "libx264", moving, options={**X264, "g": "12", "bf": "2"})
    index = index_frames(path, N_FRAMES)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: check(path, DRAWS, index=index), range(8)):
            pass


def test_of_a_folder_only_these_files_are_read(tmp_path: Path) -> None:
    for number in range(20):
        if number in (3, 11, 12):
            Image.new("RGB", (6, 4), (number, 0, 0)).save(tmp_path / f"img_{number}.png")
        else:
            (tmp_path / f"img_{number}.png").write_text("not a picture")
    assert [(n, int(f[0, 0, 0])) for n, f in chosen_frames(tmp_path, None, [3, 11, 12])] == [(3, 3), (11, 11), (12, 12)]
    index = index_frames(tmp_path)
    found = chosen_frames(tmp_path, (10, 15), [1, 2], n_frames=6, index=index)
    assert [(n, int(f[0, 0, 0])) for n, f in found] == [(1, 11), (2, 12)]
    Image.new("RGB", (5, 4)).save(tmp_path / "img_13.png")
    with pytest.raises(VideoError, match="frame 13 is 5×4, those before are 6×4"):
        list(chosen_frames(tmp_path, None, [12, 13]))


def test_units_of_hevc() -> None:
    """Unit types by table 7-1: 19 and 20 are IDR, 21 is CRA, 1 follows others; 32 to 34 are parameter sets."""

    def packet(*kinds: int) -> bytes:
        return b"".join(b"\0\0\0\x03" + bytes([kind << 1, 1, 0x80]) for kind in kinds)

    look = looking("hevc", b"\x01" + bytes(20) + b"\xff" + bytes(2))
    assert look is not None
    kinds = {(19,): Kind.OPENING, (32, 33, 34, 20, 20): Kind.OPENING, (21,): Kind.OTHER, (35, 1): Kind.OTHER}
    for units, kind in kinds.items():
        content = look(packet(*units))
        assert content is not None
        assert content.kind is kind
        assert bool(content.headers) == (32 in units)
    assert look(packet(19, 1)) is None
    assert look(packet(19)[:-1]) is None
    assert looking("wmv2", b"") is None


@pytest.mark.shared
def test_real_clips_with_packed_frames(shared: Path) -> None:
    for path in sorted((shared / "data" / "ut_interaction").glob("*/*/*.avi"))[::15]:
        n_frames = len(whole(path))
        draws = [[0, 20, 21, n_frames - 1], list(range(30, 38))]
        check(path, draws, index=index_frames(path, n_frames))
        check(path, draws, n_frames=n_frames)


def test_through_torchcodec(write_video: Write, moving: np.ndarray) -> None:
    try:
        decoder = choose_decoder("torchcodec")
    except DecoderError as error:
        pytest.skip(error.message)
    for name, (encoder, options) in (SEEKING | STEADY).items():
        if name in ("mpeg4-b.avi", "unlisted.ts"):
            continue  # torchcodec can't read these to their end
        path = write_video(name, encoder, moving, options=options)
        with open_stream(path, decoder=decoder) as stream:
            frames = list(stream)
        index = index_frames(path, len(frames))
        for numbers, given in itertools.product(DRAWS, ({}, {"index": index})):
            for number, frame in chosen_frames(path, None, numbers, decoder, **given):
                assert np.array_equal(frame, frames[number]), (name, number)
    with pytest.raises(VideoError, match="ends after 150 frames"):
        list(chosen_frames(path, None, [400], decoder))


def test_a_leap_has_to_pay(write_video: Write, moving: np.ndarray, seeks: list[int]) -> None:
    path = write_video("a.avi", "mjpeg", moving)
    index = index_frames(path, N_FRAMES)
    check(path, [[0, chosen.MIN_LEAP]], index=index)
    assert not seeks
    check(path, [[0, chosen.MIN_LEAP + 1]], index=index)
    assert len(seeks) == 1

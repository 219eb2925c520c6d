"""A file that ends early is noticed, whichever the container; whole files never are taken for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from comix_fast.errors import VideoError
from comix_fast.video import count_frames, open_stream

Write = Callable[..., Path]

KINDS = {
    "mpeg4.avi": ("mpeg4", {}),
    "mjpeg.avi": ("mjpeg", {}),
    "h264.avi": ("libx264", {}),
    "moov-last.mp4": ("libx264", {}),
    "moov-first.mp4": ("libx264", {"movflags": "faststart"}),
    "mpeg4-moov-first.mp4": ("mpeg4", {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "h264.mkv": ("libx264", {}),
    "mpeg4.mkv": ("mpeg4", {}),
    "vp8.webm": ("libvpx", {}),
    "vp9.webm": ("libvpx-vp9", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cut_copies_are_noticed(
    write_video: Write, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder, container_options = KINDS[kind]
    path = write_video(kind, encoder, options={"g": "12"}, container_options=container_options)
    assert count_frames(path) == 60
    whole = path.read_bytes()
    cut = tmp_path / f"cut-{kind}"
    for percent in (10, 25, 50, 75, 90):
        cut.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(VideoError) as failure:
            count_frames(cut)
        with pytest.raises(VideoError), open_stream(cut) as stream:
            list(stream)
        message = str(failure.value)
        assert message.startswith(f"{cut}: "), message
        assert "\n" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["mpeg4.avi", "h264.mkv", "moov-first.mp4"])
def test_a_cut_between_two_frames(write_video: Write, tmp_path: Path, kind: str) -> None:
    """No half frame gives the cut away: only what the container declares does."""
    encoder, container_options = KINDS[kind]
    path = write_video(kind, encoder, container_options=container_options)
    with av.open(str(path)) as container:
        ends = [p.pos + p.size for p in container.demux(video=0) if p.size and p.pos is not None]
    cut = tmp_path / f"cut-{kind}"
    cut.write_bytes(path.read_bytes()[: sorted(ends)[39]])
    with pytest.raises(VideoError, match=r"cut short|corrupt"):
        count_frames(cut)


def test_a_cut_through_the_very_last_frame(write_video: Write) -> None:
    """Too little is missing for the declared length to tell: the half packet does."""
    path = write_video("mjpeg.avi", "mjpeg")
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
        middle = last.pos + last.size // 2
    path.write_bytes(path.read_bytes()[:middle])
    with pytest.raises(VideoError, match="corrupt packet"):
        count_frames(path)


def test_damage_in_the_middle(write_video: Write, tmp_path: Path) -> None:
    path = write_video("moov-first.mp4", "libx264", container_options={"movflags": "faststart"})
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 4000] = bytes(4000)
    path.write_bytes(damaged)
    with pytest.raises(VideoError, match="can't be decoded after frame"):
        count_frames(path)


@pytest.mark.shared
def test_no_real_clip_is_taken_for_cut(shared: Path) -> None:
    """XviD with packed B-frames: one to two frames fewer than declared, and whole all the same."""
    clips = sorted((shared / "data" / "ut_interaction").glob("*/*/*.avi"))
    assert len(clips) == 120
    assert sum(map(count_frames, clips)) == 13_603


@pytest.mark.shared
def test_real_clips_cut_in_half_are_noticed(shared: Path, tmp_path: Path) -> None:
    for clip in sorted((shared / "data" / "ut_interaction").glob("*/*/*.avi"))[::20]:
        whole = clip.read_bytes()
        for percent in (50, 90):
            cut = tmp_path / clip.name
            cut.write_bytes(whole[: len(whole) * percent // 100])
            with pytest.raises(VideoError, match=r"cut short|can't be decoded"):
                count_frames(cut)

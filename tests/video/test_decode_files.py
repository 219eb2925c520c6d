"""Video files through PyAV: frames in order, segments, rotation, and what is no video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from comix_fast.errors import VideoError
from comix_fast.video import count_frames, open_stream

Write = Callable[..., Path]
Pictures = Callable[..., np.ndarray]


@pytest.mark.parametrize(
    "name,encoder",
    [
        ("a.avi", "mpeg4"),
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mjpeg"),
    ],
)
def test_frames_in_display_order(write_video: Write, name: str, encoder: str) -> None:
    frames = np.broadcast_to(np.arange(0, 240, 8, dtype=np.uint8)[:, None, None, None], (30, 32, 48, 3))
    path = write_video(name, encoder, frames, rate=20)
    with open_stream(path) as stream:
        assert stream.fps == 20
        decoded = list(stream)
        assert stream.n_read == 30
    assert all(frame.dtype == np.uint8 and frame.shape == (32, 48, 3) for frame in decoded)
    greys = [float(frame.mean()) for frame in decoded]
    assert np.allclose(greys, np.arange(0, 240, 8), atol=3.9), "a frame is out of order or lost"
    assert count_frames(path) == 30


def test_the_same_bytes_as_pyav_itself(write_video: Write, pictures: Pictures) -> None:
    path = write_video("odd.avi", "mpeg4", pictures(12, width=47, height=33))
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_stream(path, decoder="pyav") as stream:
        assert np.array_equal(np.stack(list(stream)), np.stack(expected))


def test_a_segment_counts_from_zero_and_stops_reading(write_video: Write, pictures: Pictures) -> None:
    path = write_video("a.mp4", "libx264", pictures(30))
    with open_stream(path) as stream:
        whole = list(stream)
    with open_stream(path, (5, 9)) as stream:
        assert np.array_equal(np.stack(list(stream)), np.stack(whole[5:10]))
    assert count_frames(path, (29, 29)) == 1
    with open_stream(path, (20, 30)) as stream, pytest.raises(VideoError, match="30 frames, too few"):
        list(stream)


def test_turned_videos_are_given_upright(write_video: Write) -> None:
    frames = np.zeros((5, 32, 48, 3), np.uint8)
    frames[:, :, :16] = 255  # a white bar at the left
    with open_stream(write_video("turned.mp4", "libx264", frames, rotation=90)) as stream:
        upright = next(iter(stream))
    assert upright.shape == (48, 32, 3)
    # Turned a quarter counterclockwise, what was at the left is at the bottom.
    assert upright[40:].min() > 200
    assert upright[:24].max() < 50


def test_a_stream_is_read_once(write_video: Write, pictures: Pictures) -> None:
    with open_stream(write_video("a.avi", frames=pictures(5))) as stream:
        assert len(list(stream)) == 5
        with pytest.raises(RuntimeError, match="read once"):
            list(stream)


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_what_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture[str], rng: np.random.Generator) -> None:
    """Each refused with its path and a reason on one line, and FFmpeg says nothing on the terminal."""
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "noise.avi").write_bytes(rng.bytes(50_000))
    (tmp_path / "zeros.mp4").write_bytes(bytes(50_000))
    (tmp_path / "page.mp4").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (tmp_path / "words.txt").write_text("hello\n" * 500)
    (tmp_path / "subtitles.avi").write_text("1\n00:00:01,000 --> 00:00:02,000\nHi\n\n" * 20)
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    (tmp_path / "renamed.mp4").write_bytes((tmp_path / "picture.png").read_bytes())
    sound_only(tmp_path / "sound.mp4")
    reasons = {
        "empty.avi": r"is empty \(0 bytes\)",
        "noise.avi": "is not a video",
        "zeros.mp4": "is not a video",
        "page.mp4": "is not a video",
        "words.txt": "not a video",
        "subtitles.avi": "not a video",
        "picture.png": "not a video",
        "renamed.mp4": "not a video",
        "sound.mp4": "has no video stream",
        "absent.avi": "No such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(VideoError, match=reason) as failure:
            count_frames(tmp_path / name)
        assert str(failure.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(failure.value)
    assert capfd.readouterr() == ("", "")


def test_a_video_without_frames(write_video: Write) -> None:
    path = write_video("none.avi", frames=np.zeros((0, 32, 48, 3), np.uint8))
    with pytest.raises(VideoError, match=r"none\.avi: "):
        count_frames(path)

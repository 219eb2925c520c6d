"""What may stand where a video is expected: pipes, devices, playlists, pictures, text, files that are locked or go."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hostile_files import PYAV, encode, png, read, refusal

from comix_fast.errors import VideoError
from comix_fast.video import count_frames, index_frames, open_stream


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as heard:
        heard.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (pipe, "is a pipe, not a file"),
        (listening, "is a socket, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
        (lambda path: path.mkdir(), "is a folder without .jpg or .png frames"),
        (lambda path: path.symlink_to(path), "can't be opened (Too many levels of symbolic links)"),
        (lambda path: path.symlink_to(path.with_name("gone")), "can't be opened (No such file or directory)"),
        (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
        (lambda path: path.write_text("dear reader,\n" * 400), "is not a video"),
        (lambda path: path.write_bytes(png(16, 12)), "is not a video"),
    ],
)
def test_refused_at_once(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "a.mp4"
    make(path)
    assert refusal(path).startswith(reason)
    for use in (count_frames, index_frames):
        if not path.is_dir():
            with pytest.raises(VideoError):
                use(path)


@pytest.mark.parametrize("name", ["a\0b.mp4", "long" * 2000 + ".mp4", "folder/" * 1000 + "a.mp4"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(VideoError, match="can't be opened"), open_stream(tmp_path / name):
        pass


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{file}\n#EXT-X-ENDLIST\n",
    "hls over the network": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{file}'\n",
    "concat of a neighbour": "ffconcat version 1.0\nfile film.ts\n",
    "concat over the network": "ffconcat version 1.0\nfile '{url}/a.ts'\n",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="0"><BaseURL>{url}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "imf": '<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{url}</Id>',
}


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "ffconcat", "mpd", "sdp", "avi"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_what_leads_elsewhere_is_not_followed(tmp_path: Path, kind: str, suffix: str) -> None:
    """Neither to another file, which is a whole video, nor to a server that would notice."""
    film = encode(tmp_path / "film.ts", "mpeg2video")
    path = tmp_path / f"list.{suffix}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path.write_text(PLAYLISTS[kind].format(file=film, url=f"http://127.0.0.1:{server.getsockname()[1]}"))
        assert refusal(path).startswith("is not a video")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_lists_are_ones_that_would_be_followed(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.ts", "mpeg2video")
    path = tmp_path / "list.m3u8"
    path.write_text(PLAYLISTS["hls"].format(file=film))
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_a_name_is_never_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:a.mp4", "concat:a.mp4|b.mp4", "pipe:0", "-", "a%03d.mp4", "data:,a"):
        encode(tmp_path / "film.mp4").rename(name)
        with open_stream(name, decoder="pyav") as stream:
            assert sum(1 for _ in stream) == 12


def test_sound_alone_and_a_cover_picture(tmp_path: Path) -> None:
    for name, has_cover in (("sound.mp4", False), ("cover.mp4", True)):
        with av.open(str(tmp_path / name), "w") as container:
            sound = container.add_stream("aac", rate=16000)
            if has_cover:
                cover = container.add_stream("png", rate=1)
                cover.width, cover.height, cover.pix_fmt = 16, 12, "gray"
                cover.disposition = Disposition.attached_pic
                packet = av.Packet(png(16, 12))
                packet.stream, packet.pts, packet.dts = cover, 0, 0
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            frame.rate = 16000
            container.mux(sound.encode(frame))
            if has_cover:
                container.mux(packet)
            container.mux(sound.encode())
        assert refusal(tmp_path / name) == "has no video stream"


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", "ffv1")
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_ZZZZ"))
    assert refusal(path) == "has a video stream of a codec that is not known here"


@pytest.mark.parametrize(("name", "pixels"), [("a.avi", "bgr24"), ("a.mkv", "yuv420p"), ("a.mov", "rgb24")])
def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, name: str, pixels: str) -> None:
    path = encode(tmp_path / name, "rawvideo", 40, (120, 160), pixels)
    assert path.stat().st_size > 2**20, "what FFmpeg reads ahead would be all of it"
    with open_stream(path, decoder="pyav") as stream:
        frames = iter(stream)
        next(frames)
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(VideoError, match=r"cut short|can't be decoded"):
            list(frames)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Root may read anything: for a while this process is somebody who may not."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_no_permission_for_the_file_or_its_folder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = encode(Path(folder) / "in" / "a.mp4")
        Path(folder).chmod(0o755)
        path.chmod(0)
        with nobody():
            assert refusal(path) in {
                "can't be opened (Permission denied)",
                "is not a video that can be read (Permission denied)",
            }
        path.chmod(stat.S_IRUSR)
        path.parent.chmod(0)
        with nobody():
            assert refusal(path) == "can't be opened (Permission denied)"
        path.parent.chmod(0o700)


def test_a_name_that_would_move_the_cursor_is_written_out(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\u202e\n.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(VideoError) as failure:
        read(path, decoder=PYAV)
    assert r"a\x1b[2J\u202e\n.mp4: is not a video" in str(failure.value)
    assert failure.value.message.isprintable()

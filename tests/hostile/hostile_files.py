"""Files that a stranger might send, made on the spot: honest ones with a few bytes changed, or packets as they like."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from comix_fast.errors import VideoError
from comix_fast.video import Decoder, Limits, choose_decoder, open_stream

PYAV = choose_decoder("pyav")


def encode(
    path: Path,
    encoder: str = "mpeg4",
    n_frames: int = 12,
    size: tuple[int, int] = (48, 64),
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    rate: int = 25,
    **options: str,
) -> Path:
    """Grey frames of 20, 30, 40 …, height and width given. times: of each frame, in frames; as counted if None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream(encoder, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt, stream.options = *size, pixels, options
        packets = []
        for number in range(n_frames):
            picture = np.full((*size, 3), 20 + 10 * number % 220, np.uint8)
            packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += stream.encode()
        for number, packet in enumerate(packets):
            if times is not None:
                packet.pts = packet.dts = times[number]
                packet.time_base = Fraction(1, rate)
            container.mux(packet)
    return path


def mux(path: Path, codec: str, payloads: Sequence[bytes], size: tuple[int, int], pixels: str = "gray") -> Path:
    """Packets as given under a header that declares what it likes: size is height and width."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for number, payload in enumerate(payloads):
            packet = av.Packet(payload)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            container.mux(packet)
    return path


def png(width: int, height: int, mode: str = "L", value: int | tuple[int, ...] = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), value).save(buffer, "PNG")
    return buffer.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    """A picture of a few bytes whose header promises any size, with the right checksum."""
    content = bytearray(png(16, 12))
    at = content.find(b"IHDR")
    content[at + 4 : at + 12] = struct.pack(">II", width, height)
    content[at + 17 : at + 21] = struct.pack(">I", zlib.crc32(bytes(content[at : at + 17])))
    return bytes(content)


def change(path: Path, mark: bytes, offset: int, form: str, *values: float) -> Path:
    """Writes numbers at an offset from where a mark first stands."""
    content = bytearray(path.read_bytes())
    at = content.find(mark)
    assert at >= 0, f"no {mark!r} in {path}"
    struct.pack_into(form, content, at + offset, *values)
    path.write_bytes(content)
    return path


def read(path: Path, limits: Limits | None = None, decoder: Decoder = PYAV) -> list[np.ndarray]:
    with open_stream(path, None, decoder if limits is None else decoder.limited(limits)) as stream:
        return list(stream)


def refusal(path: Path, limits: Limits | None = None, decoder: Decoder = PYAV) -> str:
    """What a video is refused with: one line that begins with its path."""
    try:
        frames = read(path, limits, decoder)
    except VideoError as error:
        assert "\n" not in error.message
        assert error.message.startswith(f"{path}: ")
        return error.message.removeprefix(f"{path}: ")
    raise AssertionError(f"{path} was read: {len(frames)} frames")


def greys(frames: Sequence[np.ndarray]) -> list[int]:
    """The grey of each frame's middle, to the nearest ten: encoders are off by a few."""
    return [round(int(frame[frame.shape[0] // 2, frame.shape[1] // 2, 0]) / 10) * 10 for frame in frames]


def in_little_memory(code: str, megabytes: int, *arguments: object) -> str:
    """Runs code in a process that may take so much memory beyond what its imports take; gives what it printed.

    `arguments` are its sys.argv[1:]; `room()` begins the limit.
    """
    begin = f"""
        import resource, sys
        def room():
            pages = int(open("/proc/self/statm").read().split()[0])
            most = pages * resource.getpagesize() + {megabytes} * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(begin) + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Which library decodes video files, and the proof asked of it."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from comix_fast.errors import ComixError, VideoError
from comix_fast.video.limits import Limits
from comix_fast.video.pyav_files import PyavStream
from comix_fast.video.resize import Frame
from comix_fast.video.torchcodec_files import TorchcodecStream

DECODERS = ("auto", "pyav", "torchcodec")

PROBES = (
    ("even.mp4", "h264", "libx264", 64, 48),
    ("even.avi", "mpeg4", "mpeg4", 64, 48),
    ("odd.avi", "mpeg4", "mpeg4", 63, 47),
)
"""File, codec, encoder, width and height of the clips on which torchcodec has to agree with PyAV. The odd one
is where they part: torchcodec 0.17 colours the edges of 4:2:0 frames of odd size in its own way."""

PROBE_FRAMES = 12


class DecoderError(ComixError):
    """A decoder was asked for by name and is unknown or doesn't work here."""


@dataclass(frozen=True)
class Decoder:
    """A decoder as a recipe records it: frames may differ in their last bits from one version to another.

    name: "pyav" or "torchcodec". version: its own and that of FFmpeg's codecs where it tells.
    reason: why "auto" chose it, or how its frames differ from PyAV's; no part of what it is, so not compared.
    limits: what a video may have at most. They change no byte of what is within them, so they are not compared
        either, and no part of a recipe.
    """

    name: str
    version: str
    reason: str = field(default="", compare=False)
    limits: Limits = field(default=Limits(), compare=False)

    def limited(self, limits: Limits) -> Decoder:
        """The same decoder, with other limits."""
        return dataclasses.replace(self, limits=limits)


@functools.cache
def choose_decoder(name: str = "auto") -> Decoder:
    """The decoder to use for video files; worked out once per process.

    name: "pyav"; "torchcodec", which must import and decode; or "auto": torchcodec where it also gives the
    same bytes as PyAV on small clips made on the spot, PyAV otherwise, with the reason.
    Raises DecoderError for other names, and for torchcodec where it doesn't work.
    """
    if name not in DECODERS:
        raise DecoderError(f"no decoder {name!r}", hint=f"choose one of {', '.join(DECODERS)}")
    if name == "pyav":
        return _pyav()
    failure = _torchcodec_failure()
    if failure:
        if name == "torchcodec":
            raise DecoderError(
                f"torchcodec doesn't work here: {failure}",
                hint="it needs FFmpeg's shared libraries; --decoder pyav needs nothing beside it",
            )
        return _pyav(failure)
    difference = _torchcodec_difference()
    if difference and name == "auto":
        return _pyav(difference)
    version = importlib.metadata.version("torchcodec")
    return Decoder("torchcodec", version, difference or "torchcodec's frames equal PyAV's")


def _pyav(reason: str = "") -> Decoder:
    codecs = ".".join(map(str, av.library_versions["libavcodec"]))
    return Decoder("pyav", f"{av.__version__} (libavcodec {codecs})", reason)


def _torchcodec_failure() -> str:
    """Why torchcodec can't be used here, in one line; nothing if it can."""
    try:
        importlib.metadata.version("torchcodec")
    except importlib.metadata.PackageNotFoundError:
        return "torchcodec is not installed"
    try:
        _compare(PROBES[:1], lambda ours, theirs: True)
    except VideoError as error:
        return error.message.split(": ", 1)[-1]
    # Importing fails with a RuntimeError, too, where FFmpeg's libraries are missing or of another version.
    except (ImportError, RuntimeError, OSError) as error:
        return f"torchcodec can't be imported ({(str(error).strip().splitlines() or [''])[0]})"
    return ""


def _torchcodec_difference() -> str:
    """On which probe torchcodec's frames differ from PyAV's, in one line; nothing if on none."""
    try:
        return _compare(PROBES, np.array_equal)
    except VideoError as error:
        return error.message.split(": ", 1)[-1]


def _compare(probes: tuple[tuple[str, str, str, int, int], ...], agree: Callable[[Frame, Frame], bool]) -> str:
    with tempfile.TemporaryDirectory(prefix="comix-") as folder:
        for file, codec, encoder, width, height in probes:
            path = Path(folder) / file
            if not _write_probe(path, encoder, width, height):
                continue
            with PyavStream(path) as ours, TorchcodecStream(path) as theirs:
                if not agree(np.stack(list(ours)), np.stack(list(theirs))):
                    return f"torchcodec's frames differ from PyAV's ({codec}, {width}×{height})"
    return ""


def _write_probe(path: Path, encoder: str, width: int, height: int) -> bool:
    """Write a short moving pattern; False where this build of PyAV lacks the encoder."""
    if encoder not in av.codecs_available:
        return False
    down, across = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(PROBE_FRAMES):
            planes = (across * 4 + number * 9, down * 5 - number * 7, across * down + number * 3)
            picture = (np.stack(planes, axis=-1) % 256).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return True

"""Which files FFmpeg is let near: plain files, containers that hold their own video, nothing that leads elsewhere.

FFmpeg reads playlists, scripts of files to join, session descriptions and pictures under the same call as videos,
whatever their suffix is, and follows them to other files and over the network. Only the kinds below are opened, and
within them only files: the whitelists are tried before a container's header is read.
"""

from __future__ import annotations

import stat
from pathlib import Path

import av
from av.container import InputContainer

from comix_fast.video.limits import Limits

MOVIE = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"
AVI = "avi"

CONTAINERS = (
    *(MOVIE, MATROSKA, AVI, "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg", "mxf", "nut", "ivf", "rm", "wtv"),
    *("dv", "gxf", "amv", "dhav", "cine", "gif", "apng", "yuv4mpegpipe", "nsv"),
    *("h261", "h263", "h264", "hevc", "vvc", "m4v", "vc1", "av1", "obu", "mjpeg", "dirac", "cavsvideo"),
)
"""FFmpeg's names of what is read: containers, and bare streams of one codec."""

_PROBES_SAFELY = tuple(int(part) for part in av.__version__.split(".")[:2]) >= (18, 1)
"""PyAV before 18.1 frees more option tables than it has made where streams appear late (its issue 2010): it is given
none, and one picture of up to 2 GiB (FFmpeg's own limit) may be decoded while it finds out what a file holds."""


def unreadable_kind(path: Path) -> str:
    """Why a path is not even opened, in words that follow its name; nothing for a plain file with something in it.

    A pipe would be waited on for ever, and a device need not end. Links are followed. Raises OSError, and ValueError
    for a name that no file can have.
    """
    found = path.stat()
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    if not stat.S_ISREG(found.st_mode):
        return f"is {kinds.get(stat.S_IFMT(found.st_mode), 'a folder')}, not a file"
    return "" if found.st_size else "is empty (0 bytes)"


def open_container(path: Path, limits: Limits) -> InputContainer:
    """The container, opened and its streams known. Raises av.FFmpegError.

    The path is made absolute: FFmpeg would take one that begins as `http:` or `concat:` does for an address.
    """
    pixels = limits.decoder_pixels
    return av.open(
        str(path.absolute()),
        "r",
        options={"max_pixels": str(pixels)} if pixels and _PROBES_SAFELY else None,
        container_options={"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)},
        metadata_errors="ignore",
    )

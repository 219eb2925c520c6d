"""The one way to frames: a path in, a stream of RGB frames out."""

from __future__ import annotations

from pathlib import Path

from comix_fast.errors import VideoError
from comix_fast.printable import printable
from comix_fast.video.decoder import Decoder, choose_decoder
from comix_fast.video.frame_folders import FolderStream
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.pyav_files import PyavStream
from comix_fast.video.torchcodec_files import TorchcodecStream


def open_stream(path: str | Path, segment: Segment | None = None, decoder: str | Decoder = "auto") -> FrameStream:
    """Open a video file or a folder of frames; use it in a `with`, iterate it once.

    segment: first and last frame, both included. For a folder these are the numbers in the files' names,
        for a file the frames counted from 0.
    decoder: "auto", "pyav", "torchcodec", or what `choose_decoder` gave, with the limits that it carries. Folders
        need none, and are held to the limits all the same.
    Raises VideoError, its message one line that begins with the path, if it can't be opened or the segment
    is empty; iterating raises more, see FrameStream.
    """
    path = Path(path)
    if segment is not None and not 0 <= segment[0] <= segment[1]:
        raise VideoError(f"{printable(str(path))}: segment {segment[0]} to {segment[1]} holds no frames")
    if _is_folder(path):
        return FolderStream(path, segment, None if isinstance(decoder, str) else decoder.limits)
    chosen = choose_decoder(decoder) if isinstance(decoder, str) else decoder
    kind = TorchcodecStream if chosen.name == "torchcodec" else PyavStream
    return kind(path, segment, chosen.limits)


def _is_folder(path: Path) -> bool:
    """False also for what can't be looked at: whoever opens it says why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def count_frames(path: str | Path, segment: Segment | None = None, decoder: str | Decoder = "auto") -> int:
    """The exact number of frames that open_stream would give, by decoding without conversion or by listing.

    What containers declare won't do: packed B-frames, edit lists and cut files make it wrong by a few. It
    costs about half of reading the frames. Raises VideoError as reading does.
    """
    with open_stream(path, segment, decoder) as stream:
        return stream.count()

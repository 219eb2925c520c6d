"""One video as one small picture, or as a short loop of them: WebP, a few kilobytes each."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from comix_fast.datasets import Video
from comix_fast.errors import VideoError
from comix_fast.printable import printable
from comix_fast.video import Decoder, chosen_frames, count_frames
from comix_fast.video.resize import Frame, check_frame

STILL_SIDE, STILL_QUALITY = 128, 78
PREVIEW_SIDE, PREVIEW_QUALITY = 112, 60
PREVIEW_FRAMES = 12
PREVIEW_MS = 130
"""How long each frame of a preview is shown: a loop of a second and a half."""


def fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height with this longest side, the aspect kept; never larger than given, never below 1."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrunk(frame: Frame, longest: int) -> Image.Image:
    """A frame uint8 [H, W, 3] as a picture of this longest side."""
    check_frame(frame)
    size = fitted(frame.shape[1], frame.shape[0], longest)
    picture = Image.fromarray(frame)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def webp(pictures: Sequence[Image.Image], quality: int, milliseconds: int = PREVIEW_MS) -> bytes:
    """One picture as a still; several, of one size, as a loop without end. Raises ValueError for none."""
    if not pictures:
        raise ValueError("no pictures to encode")
    written = io.BytesIO()
    if len(pictures) == 1:
        pictures[0].save(written, "WEBP", quality=quality, method=4)
    else:
        first, *rest = pictures
        first.save(
            written,
            "WEBP",
            save_all=True,
            append_images=rest,
            duration=milliseconds,
            loop=0,
            quality=quality,
            method=4,
        )
    return written.getvalue()


def spread(n_frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers over a video of n_frames, in order, each once: the middles of as many equal parts."""
    count = min(count, n_frames)
    return [(2 * part + 1) * n_frames // (2 * count) for part in range(count)]


def frames_of(
    video: Video, numbers: Sequence[int], n_frames: int | None, decoder: str | Decoder = "auto"
) -> Iterator[tuple[int, Frame]]:
    """Chosen frames of a video, as comix_fast.video.chosen_frames gives them.

    Raises VideoError for whatever stands against it, a folder that is gone or locked too, as `without_path` has it.
    """
    with without_path(video):
        yield from chosen_frames(video.path, video.segment, numbers, decoder, n_frames)


@contextlib.contextmanager
def without_path(video: Video) -> Iterator[None]:
    """Has errors of reading a video say why alone: pages are handed on, and nobody needs their maker's folders."""
    try:
        yield
    except VideoError as error:
        raise VideoError(error.message.removeprefix(f"{printable(str(video.path))}: ")) from error
    except OSError as error:
        raise VideoError(error.strerror or "can't be read") from error


def still(
    video: Video,
    n_frames: int | None = None,
    *,
    longest: int = STILL_SIDE,
    quality: int = STILL_QUALITY,
    decoder: str | Decoder = "auto",
) -> bytes:
    """The middle frame as WebP, its longest side `longest` pixels.

    n_frames: of the video, where it is known; else they are counted first. Raises VideoError if it can't be read.
    """
    return webp(_pictures(video, n_frames, 1, longest, decoder), quality)


def preview(
    video: Video,
    n_frames: int | None = None,
    *,
    frames: int = PREVIEW_FRAMES,
    longest: int = PREVIEW_SIDE,
    quality: int = PREVIEW_QUALITY,
    decoder: str | Decoder = "auto",
) -> bytes:
    """A loop of `frames` frames spread over the whole video, in its order, as animated WebP.

    n_frames: as for `still`. A video of one frame gives a still. Raises VideoError if it can't be read.
    """
    return webp(_pictures(video, n_frames, frames, longest, decoder), quality)


def _pictures(
    video: Video, n_frames: int | None, count: int, longest: int, decoder: str | Decoder
) -> list[Image.Image]:
    with without_path(video):
        total = count_frames(video.path, video.segment, decoder) if n_frames is None else n_frames
    found = [shrunk(frame, longest) for _, frame in frames_of(video, spread(total, count), total, decoder)]
    if not found:
        raise VideoError("has no frames")
    return found


def squeezed(frame: Frame, size: tuple[int, int]) -> Image.Image:
    """A frame of any aspect, uint8 [H, W, 3], as a picture of width and height `size`."""
    check_frame(frame)
    return Image.fromarray(np.ascontiguousarray(frame)).resize(size, Image.Resampling.LANCZOS)

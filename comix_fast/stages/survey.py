"""The first decode of every video: can it be read, how many frames has it, what is its background?

Donors of backgrounds are videos of the other domain, and a video's bins hang on its length, so both must be known
before the first mixed clip. What is found stays in the cache; no video is surveyed twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache.format import SURVEYS, UNLABELLED, VideoRow
from comix_fast.cache.writer import CacheWriter
from comix_fast.console import Reporter
from comix_fast.datasets import Video
from comix_fast.errors import VideoError
from comix_fast.printable import printable
from comix_fast.stages.pipeline_ahead import Ahead, Check
from comix_fast.video import Decoder, Limits, median_background, open_stream
from comix_fast.video.frame_folders import FolderStream
from comix_fast.video.resize import Frame

Failure = dict[str, str]
Found = tuple[VideoRow, NDArray[np.uint8] | None]


def failure(video: Video, error: VideoError) -> Failure:
    """A line of failures.json."""
    named = f"{printable(str(video.path))}: "
    return {"id": video.id, "path": str(video.path), "reason": error.message.removeprefix(named)}


def chunks(videos: Sequence[Video], size: int) -> Iterator[Sequence[Video]]:
    """Runs of `size` videos, in order."""
    for first in range(0, len(videos), size):
        yield videos[first : first + size]


def survey(
    cache: CacheWriter,
    groups: Sequence[tuple[str, Sequence[Video]]],
    *,
    decoder: Decoder,
    size: int,
    backgrounds: bool,
    shard_size: int,
    threads: int,
    reporter: Reporter,
    folder: str = SURVEYS,
    watch: Callable[[str], contextlib.AbstractContextManager[None]] | None = None,
) -> list[Failure]:
    """Decodes each video of (domain, videos) once, `threads` at a time, and writes what it finds by shard_size videos.

    folder: of the cache, to write to. watch: entered around each decode with the video's id.
    Returns the videos that cannot be read, with the reason; in the order of the videos, as all that is written.
    """
    failures: list[Failure] = []
    total = sum(len(videos) for _, videos in groups)
    if not total:
        return failures

    def look(video: Video, check: Check) -> Iterator[Found]:
        with contextlib.nullcontext() if watch is None else watch(video.id):
            found = survey_video(video, decoder, size, backgrounds, check)
        yield found

    videos = (video for _, group in groups for video in group)
    with (
        reporter.progress("surveying videos", total, "videos") as advance,
        Ahead(videos, look, min(threads, total), 1, "comix-survey") as ahead,
    ):
        looked = iter(ahead)
        for domain, group in groups:
            for some in chunks(group, shard_size):
                rows: list[VideoRow] = []
                found: list[NDArray[np.uint8]] = []
                for video, results in itertools.islice(looked, len(some)):
                    try:
                        ((row, background),) = results
                    except VideoError as error:
                        failures.append(failure(video, error))
                    else:
                        rows.append(row)
                        found += [] if background is None else [background]
                    advance(1)
                cache.add_survey(domain, rows, found if backgrounds else None, folder)
    return failures


def survey_video(video: Video, decoder: Decoder, size: int, background: bool, check: Check) -> Found:
    """Reads one video to its end. Raises VideoError if it cannot be read whole, and what `check` raises."""
    fps: float | None = None

    def frames() -> Iterator[Frame]:
        nonlocal fps
        with open_stream(video.path, video.segment, decoder) as stream:
            fps = stream.fps
            for frame in stream:
                check()
                yield frame

    found = None
    if background:
        found, n_frames = median_background(frames, size)
    else:
        n_frames = sum(1 for _ in frames())
    row = VideoRow(
        id=video.id,
        label=UNLABELLED if video.label is None else video.label,
        n_frames=n_frames,
        fps=math.nan if fps is None else fps,
        sha256=content_sha256(video, decoder.limits),
        n_bytes=content_bytes(video, decoder.limits),
    )
    return row, found


def content_bytes(video: Video, limits: Limits | None = None) -> int:
    """Size of a video file, or of a segment's frame files together. Raises VideoError if it is gone."""
    with _present(video):
        if video.path.is_dir():
            return sum(frame.stat().st_size for frame in FolderStream(video.path, video.segment, limits).files)
        return video.path.stat().st_size


def content_sha256(video: Video, limits: Limits | None = None) -> str:
    """sha256 of a video file, or of the names and bytes of a segment's frames. Raises VideoError if it is gone."""
    with _present(video):
        if not video.path.is_dir():
            return _file_sha256(video.path).hex()
        whole = hashlib.sha256()
        for frame in FolderStream(video.path, video.segment, limits).files:
            whole.update(f"{frame.name}\0".encode() + _file_sha256(frame))
        return whole.hexdigest()


@contextlib.contextmanager
def _present(video: Video) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VideoError(f"{printable(str(video.path))}: {error.strerror or error}") from error


def _file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

"""Only the frames that are needed: the bytes of a whole reading, for the cost of these frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import av

from comix_fast.errors import VideoError
from comix_fast.video.decode import open_stream
from comix_fast.video.decoder import Decoder
from comix_fast.video.frame_index import FrameIndex, index_frames
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.pyav_files import PyavStream
from comix_fast.video.resize import Frame
from comix_fast.video.torchcodec_files import TorchcodecStream

MIN_LEAP = 8
"""Frames to pass over for which a seek is worth its cost: some frames in flight are lost by it."""

MIN_PASSED, MIN_PASSED_SHARE = 64, 0.25
"""Frames to pass over, in all and of all, for which an index is worth making for a single decode. Making it
costs 5 to 15 % of decoding the file, whether it then has openings or not; not converting these frames saves more."""


class _DoubtError(Exception):
    """What a seek led to isn't what the index says."""


def chosen_frames(
    path: str | Path,
    segment: Segment | None,
    numbers: Sequence[int],
    decoder: str | Decoder = "auto",
    n_frames: int | None = None,
    index: FrameIndex | None = None,
) -> Iterator[tuple[int, Frame]]:
    """Yield (number, uint8 [H, W, 3]) for these frames, the same bytes as open_stream gives at these numbers.

    path, segment, decoder: as open_stream takes them.
    numbers: frames counted from 0 inside the segment, ascending, each once; none yields nothing.
    n_frames: how many frames the whole reading gave (a survey, count_frames); None if that isn't known.
    index: what index_frames found in this file, for callers who decode it more than once. Without it, and with
        n_frames and no segment, one is made here where the gaps are wide enough to pay for it. Only with an
        index are gaps seeked over; without, frames in between are decoded, though not converted.

    No frame is converted that isn't asked for. Of a folder only the files asked for are read. What is decoded is
    the caller's thread's work; nothing is shared but the index, which is only read.
    Raises ValueError for numbers that aren't ascending from 0, VideoError as reading does and for numbers past the
    end. A file that ends early is noticed whatever the numbers, unless a segment or an index is given: without a
    segment what is left behind the last number is walked over, and whoever made the index has done so.
    """
    numbers = [int(number) for number in numbers]
    if any(later <= earlier for earlier, later in itertools.pairwise([-1, *numbers])):
        raise ValueError("frame numbers must be 0 or more, ascending, each once")
    return _chosen(Path(path), segment, numbers, decoder, n_frames, index)


def _chosen(
    path: Path,
    segment: Segment | None,
    numbers: list[int],
    decoder: str | Decoder,
    n_frames: int | None,
    index: FrameIndex | None,
) -> Iterator[tuple[int, Frame]]:
    if not numbers:
        return
    with open_stream(path, segment, decoder) as stream:
        is_file = isinstance(stream, PyavStream | TorchcodecStream)
        if index is not None and not (is_file and index.describes(path)):
            index = None
        if index is None and is_file and n_frames is not None and segment is None:
            n_passed = numbers[-1] + 1 - len(numbers)
            if n_passed >= max(MIN_PASSED, MIN_PASSED_SHARE * n_frames):
                index = index_frames(path, n_frames, stream.limits)
        done = -1
        try:
            for done, frame in _leaping(stream, segment, numbers, index):
                yield done, frame
            # Whoever made an index has walked to the end; a segment's reading ends with it.
            if index is None and segment is None and isinstance(stream, PyavStream):
                stream.walk()
            return
        except _DoubtError:
            left = [number for number in numbers if number > done]
    with open_stream(path, segment, decoder) as stream:
        yield from stream.chosen(left)


def _leaping(
    stream: FrameStream, segment: Segment | None, numbers: list[int], index: FrameIndex | None
) -> Iterator[tuple[int, Frame]]:
    """The frames, by seeking where the index allows for it and a gap is wide enough."""
    if index is None or not index.openings:
        yield from stream.chosen(numbers)
        return
    first, last = segment or (0, len(index.pts) - 1)
    absolute = [first + number for number in numbers]
    if absolute[-1] > last or last >= len(index.pts):
        # The stream tells what is wrong in its own words.
        yield from stream.chosen(numbers)
    elif isinstance(stream, PyavStream):
        for number, frame in _seeking(stream, absolute, index):
            yield number - first, stream.rgb(frame)
    elif isinstance(stream, TorchcodecStream) and index.all_open:
        try:
            yield from stream.sought(numbers)
        except VideoError as error:
            raise _DoubtError from error
    else:
        yield from stream.chosen(numbers)


def _seeking(stream: PyavStream, numbers: list[int], index: FrameIndex) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of these numbers, counted in the whole file, not yet converted."""
    packets = stream.packets()
    frames: Iterator[tuple[int, av.VideoFrame]] = enumerate(stream.decoded(packets))
    reached = 0
    for wanted in numbers:
        opening = index.opening(wanted)
        if opening - reached >= MIN_LEAP:
            if reached == 0:
                # The decoder has to see the headers that the first packet may carry, as in a whole reading.
                next(stream.decoded(itertools.islice(packets, 1)), None)
            frames = _from_opening(stream, index, opening)
        for number, frame in frames:
            stream.check_size(number, frame)
            reached = number + 1
            if number == wanted:
                yield number, frame
                break
        else:
            raise _DoubtError


def _from_opening(stream: PyavStream, index: FrameIndex, opening: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames from an opening on, or from one before it where the container's list leads there; each one checked."""
    try:
        stream.seek(index.target(opening))
        packets = stream.packets()
        begun = next(packets, None)
        landed = None if begun is None else index.number(begun.pts)
        if begun is None or landed is None or landed > opening or index.opening(landed) != landed:
            raise _DoubtError
        for number, frame in enumerate(stream.decoded(itertools.chain([begun], packets)), landed):
            if frame.is_corrupt or index.number(frame.pts) != number:
                raise _DoubtError
            yield number, frame
    # A whole reading fails here as well, or it doesn't and the seek is to blame: it is for the whole reading to say.
    except (av.FFmpegError, VideoError) as error:
        raise _DoubtError from error

"""From a stream of frames to clips, in one pass, holding only the frames that are still needed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from comix_fast.errors import VideoError
from comix_fast.video.plan import PlanError
from comix_fast.video.resize import FRAME_SIZE, Frame, resize_frame

Small = TypeVar("Small")


@dataclass(frozen=True)
class ClipRequest:
    """One clip to be cut from a stream.

    view, row: whose row the clip is ("plain", 3); kept for the caller, not looked at here.
    frames: source-frame numbers counted from 0, never decreasing, as `clip_frames` gives them.
    """

    view: str
    row: int
    frames: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = self.frames
        steps_back = any(later < earlier for earlier, later in itertools.pairwise(numbers))
        if not numbers or numbers[0] < 0 or steps_back:
            raise PlanError(
                f"clip {self.row} of {self.view} asks for frames {numbers}; "
                "they must be one or more, from 0 up, never decreasing"
            )


def stream_clips(
    frames: Iterable[Frame], requests: Sequence[ClipRequest], size: int = FRAME_SIZE
) -> Iterator[tuple[ClipRequest, Frame]]:
    """Yield each request with its clip, uint8 [len(request.frames), size, size, 3], once it is complete.

    As `stream_windows`, each frame resized by PIL.
    """

    def resized(numbered: Iterator[tuple[int, Frame]]) -> Iterator[tuple[int, Frame]]:
        return ((number, resize_frame(frame, size)) for number, frame in numbered)

    for request, window in stream_windows(frames, requests, resized):
        yield request, np.stack(window)


def stream_windows(
    frames: Iterable[Frame],
    requests: Sequence[ClipRequest],
    resized: Callable[[Iterator[tuple[int, Frame]]], Iterator[tuple[int, Small]]],
) -> Iterator[tuple[ClipRequest, list[Small]]]:
    """Yield each request with its frames, resized, once they are complete.

    frames: uint8 [H, W, 3] each, all frames of one video in order. Each one that a request needs is resized
        once; no other is. The stream is read to its end even when every clip is out, so that a file that
        ends early is noticed by whoever decodes it.
    resized: gives numbered frames back in their order, resized; it may read a few ahead.
    Order: by the clips' last frames, then as given. What is held are the frames between the first and the
    last one of the clips under way, whatever the video's length; clips share the frames that they share.

    Raises VideoError if the stream ends before a frame that is needed.
    """
    due: dict[int, list[ClipRequest]] = defaultdict(list)
    needed_until: dict[int, int] = {}
    for request in requests:
        last = request.frames[-1]
        due[last].append(request)
        for number in request.frames:
            needed_until[number] = max(last, needed_until.get(number, 0))
    leaving: dict[int, list[int]] = defaultdict(list)
    for number, last in needed_until.items():
        leaving[last].append(number)

    n_read = 0

    def needed() -> Iterator[tuple[int, Frame]]:
        nonlocal n_read
        for number, frame in enumerate(frames):
            n_read += 1
            if number in needed_until:
                yield number, frame

    window: dict[int, Small] = {}
    for number, frame in resized(needed()):
        window[number] = frame
        for request in due.pop(number, ()):
            yield request, [window[one] for one in request.frames]
        for old in leaving.pop(number, ()):
            del window[old]
    if due:
        raise VideoError(
            f"ends after {n_read:,} frames; {sum(map(len, due.values())):,} of {len(requests):,} clips "
            f"need frames up to {max(due):,} (counted from 0)"
        )

"""Frames decoded ahead of the iterations that need them: their draws are known, so nothing has to wait for them."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.datasets import Video
from comix_fast.stages.batches import CHUNK, Draws
from comix_fast.stages.pipeline_ahead import Ahead, Check
from comix_fast.training.frames import DrawnClips, FrameRows
from comix_fast.video import Decoder, FrameIndex, Limits, chosen_frames, index_frames
from comix_fast.video.pixels import Clip, DeviceResizer, HostResizer

LONG = 300
"""Frames from which a file is worth an index: shorter ones are read in order in about the same time."""
VIDEOS_AHEAD = 16
"""Videos that wait decoded, some 15 MB each: those of the next iteration, both domains at the published batch size."""
INDICES_HELD = 4096
"""Some eight bytes a frame each."""

Streams = list[list[list[Clip[Any]]]]
"""Of each stream, of each of this process's videos, the clips drawn."""


@dataclass(frozen=True)
class Job:
    """One video of one iteration, decoded once for all the streams that draw clips of it.

    parts: stream, place in the batch, clips. is_last: whether the iteration is complete with it.
    """

    parts: tuple[tuple[int, int, DrawnClips], ...]
    is_last: bool


Part = tuple[int, int, list[Clip[Any]]]


class FramesAhead:
    """The clips of iterations first … last − 1, in their order, decoded and resized; used in a `with`.

    draws: what the iterations draw, of FrameRows. share: which places of a batch are this process's.
    background: by video id, uint8 [size, size, 3].
    """

    def __init__(
        self,
        draws: Draws,
        iterations: range,
        share: Callable[[int], slice],
        *,
        background: Callable[[str], NDArray[Any]],
        decoder: Decoder,
        size: int,
        device: torch.device,
        threads: int,
    ) -> None:
        self._draws, self._share, self._background = draws, share, background
        self._decoder, self._size, self._device = decoder, size, device
        self._index = _Indices(decoder.limits)
        self._ahead: Ahead[Job, Part] = Ahead(
            self._jobs(iterations), self._decoded, threads, held=4, name="comix-frames", ahead=VIDEOS_AHEAD
        )
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._ahead)
        self._found = iter(self._ahead)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def next(self) -> Streams:
        """The clips of the next iteration. Raises VideoError if one of its videos can't be read."""
        # The streams' batches may differ in size: of a list that is shorter than the batch a batch is all of it.
        found: list[dict[int, list[Clip[Any]]]] = [{} for _ in self._draws.streams]
        for job, parts in self._found:
            for stream, place, clips in parts:
                found[stream][place] = clips
            if job.is_last:
                break
        return [[of_stream[place] for place in range(len(of_stream))] for of_stream in found]

    def _jobs(self, iterations: range) -> Iterator[Job]:
        chunk, number = None, -1
        for iteration in iterations:
            if iteration // CHUNK != number:
                number = iteration // CHUNK
                chunk = self._draws.chunk(number)
            assert chunk is not None
            by_video: dict[tuple[int, str], list[tuple[int, int, DrawnClips]]] = {}
            for stream, (given, rows) in enumerate(zip(self._draws.streams, chunk.rows, strict=True)):
                for place, clips in enumerate(_described(given.features, rows[iteration % CHUNK], self._share)):
                    by_video.setdefault((place, clips.video.id), []).append((stream, place, clips))
            jobs = [tuple(parts) for parts in by_video.values()]
            yield from (Job(parts, number == len(jobs) - 1) for number, parts in enumerate(jobs))

    def _decoded(self, job: Job, check: Check) -> Iterator[Part]:
        """One decode; runs in a thread of its own."""
        first = job.parts[0][2]
        needed = sorted({number for _, _, clips in job.parts for frames in clips.frames for number in frames})
        path, segment = first.video.path, first.video.segment
        resizer = HostResizer(self._size) if self._device.type == "cpu" else DeviceResizer(self._size, self._device)
        index = self._index(first.video, first.n_frames)
        given = chosen_frames(path, segment, needed, self._decoder, n_frames=first.n_frames, index=index)
        frames: dict[int, Any] = {}
        for number, frame in resizer(given):
            check()
            frames[number] = frame
        for stream, place, clips in job.parts:
            behind = None if clips.donor is None else self._background(clips.donor)
            yield stream, place, [Clip([frames[n] for n in one], behind, clips.gamma) for one in clips.frames]


class _Indices:
    """Where decoding may begin in long files, found once for as many as are held; threads share it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: OrderedDict[Path, FrameIndex] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, video: Video, n_frames: int) -> FrameIndex | None:
        """None where it would not pay, and for a part of a file, whose frames are not those of the whole."""
        if n_frames < LONG or video.segment is not None or video.path.is_dir():
            return None
        with self._lock:
            if video.path in self._held:
                self._held.move_to_end(video.path)
                return self._held[video.path]
        found = index_frames(video.path, n_frames, self._limits)
        with self._lock:
            self._held[video.path] = found
            while len(self._held) > INDICES_HELD:
                self._held.popitem(last=False)
        return found


def _described(features: object, rows: Tensor, share: Callable[[int], slice]) -> Sequence[DrawnClips]:
    """What this process's rows of a stream, [b, B], stand for."""
    assert isinstance(features, FrameRows)
    return [features.describe(of_video) for of_video in rows[share(len(rows))]]

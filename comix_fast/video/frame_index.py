"""Where the frames of a file are, and where decoding may begin: worked out once, for as many decodes as come."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from comix_fast.video.containers import AVI, MATROSKA, MOVIE
from comix_fast.video.limits import Limits
from comix_fast.video.openings import Content, Kind, Look, looking
from comix_fast.video.pyav_files import PyavStream

if TYPE_CHECKING:
    from comix_fast.video.pyav_files import Packet

SEEKABLE = (AVI, MOVIE, MATROSKA)
"""FFmpeg's names of the containers that list their keyframes."""

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """What a walk over a whole file found; read by any number of threads.

    size, modified_ns: of the file; of a file that differs nothing here is used.
    pts: int64 [n], when each frame is shown, in the stream's own units, ascending; empty where anything is in doubt.
    openings: frames, ascending, from which decoding gives the same as from the first; without frame 0.
    targets: the time to seek to for each opening.
    all_open: whether every packet that the container marks as a keyframe opens, with the same headers as the first:
        what a library needs that seeks by itself.
    """

    size: int
    modified_ns: int
    pts: Times
    openings: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    all_open: bool = False

    def describes(self, path: Path) -> bool:
        """Whether the file is, by size and time, the one walked over."""
        found = path.stat()
        return (found.st_size, found.st_mtime_ns) == (self.size, self.modified_ns)

    def opening(self, number: int) -> int:
        """The last frame up to `number` that decoding may begin with."""
        return self.openings[place - 1] if (place := bisect.bisect_right(self.openings, number)) else 0

    def target(self, opening: int) -> int:
        """Where to seek for an opening other than 0."""
        return self.targets[bisect.bisect_left(self.openings, opening)]

    def number(self, pts: int | None) -> int | None:
        """The frame shown at a time; None if there is none."""
        if pts is None:
            return None
        place = int(np.searchsorted(self.pts, pts))
        return place if place < len(self.pts) and self.pts[place] == pts else None


def index_frames(path: str | Path, n_frames: int | None = None, limits: Limits | None = None) -> FrameIndex:
    """Walk over a video file and note where decoding may begin; of a folder there is nothing to note.

    n_frames: the number of frames in the whole file, exact, as a survey or count_frames found it; the file is
        read without decoding then, for a few hundredths of what decoding costs. None: they are counted by
        decoding without conversion, for about half of what reading costs.
    limits: as a decoder carries them; the usual ones if None.

    Openings are noted only where it is certain that decoding from there gives the same frames: packets each with
    a time of its own, as many as frames; the codec's own promise (see openings) that nothing before is needed,
    and all that is before in the file is shown before; no new headers on the way; a container with a list of
    its keyframes. Where anything is in doubt there are none, and chosen_frames reads from the start.
    Raises VideoError if the file is damaged, ends early, is beyond a limit, or isn't a video.
    """
    path = Path(path)
    if path.is_dir():
        return FrameIndex(0, 0, _read_only([]))
    with PyavStream(path, limits=limits) as stream:
        found = path.stat()
        container, codec, extradata = stream.declares()
        walk = _Walk(looking(codec, extradata) if container in SEEKABLE else None)
        packets = walk.over(stream.packets())
        shown = [frame.pts for frame in stream.decoded(packets)] if n_frames is None else None
        for _ in packets:
            pass
    pts = sorted(walk.pts)
    is_certain = walk.is_certain and (shown == pts if shown is not None else len(pts) == n_frames)
    is_certain = is_certain and len(set(pts)) == len(pts)
    # An AVI file has no times of its own for frames shown out of order: FFmpeg guesses them as it reads.
    if not is_certain or (container == AVI and walk.pts != pts):
        return FrameIndex(found.st_size, found.st_mtime_ns, _read_only([]))
    openings = walk.openings()
    return FrameIndex(
        size=found.st_size,
        modified_ns=found.st_mtime_ns,
        pts=_read_only(pts),
        openings=openings,
        # What a seek is told: in AVI the place in the file's order, elsewhere when the frame is shown.
        targets=tuple((walk.dts if container == AVI else walk.pts)[number] for number in openings),
        all_open=walk.all_open(openings),
    )


def _read_only(times: list[int]) -> Times:
    array = np.array(times, np.int64)
    array.setflags(write=False)
    return array


class _Walk:
    """The packets of one file, looked at in the order of the file."""

    def __init__(self, look: Look | None) -> None:
        self._look = look
        self._headers = b""
        self._kinds: list[Kind] = []
        self._marks: list[bool] = []
        self._bare: list[bool] = []
        self.is_certain = look is not None
        self.pts: list[int] = []
        self.dts: list[int] = []

    def over(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets, each one noted."""
        for packet in packets:
            if self._look is not None and self.is_certain and packet.size:
                self.is_certain = self._note(packet, self._look(bytes(packet)))
            yield packet

    def _note(self, packet: Packet, content: Content | None) -> bool:
        if content is None or packet.pts is None or packet.is_discard:
            return False
        if not self._kinds:
            self._headers = content.headers
        self._kinds.append(content.kind)
        self._marks.append(packet.is_keyframe)
        self._bare.append(content.headers != self._headers)
        self.pts.append(packet.pts)
        self.dts.append(packet.pts if packet.dts is None else packet.dts)
        return content.headers in (b"", self._headers)

    def openings(self) -> tuple[int, ...]:
        """Packets, and as many frames are shown before them, at which decoding may begin, without the first."""
        pts = np.array(self.pts, np.int64)
        before, after = np.maximum.accumulate(pts), np.minimum.accumulate(pts[::-1])[::-1]
        following = [*self._kinds[1:], Kind.OTHER]
        return tuple(
            number
            for number in range(1, len(pts))
            if self._marks[number]
            and self._kinds[number] is Kind.OPENING
            and following[number] is not Kind.REORDERED
            and before[number - 1] < pts[number] == after[number]
        )

    def all_open(self, openings: tuple[int, ...]) -> bool:
        """Whether these are all the keyframes that the container marks, none short of the first packet's headers."""
        return len(openings) == sum(self._marks[1:]) and not any(self._bare[number] for number in openings)

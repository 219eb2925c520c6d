"""Video files through PyAV, and how to tell that one ends early."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from comix_fast.errors import VideoError
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.resize import Frame

if TYPE_CHECKING:
    # At run time av.Packet takes no parameter.
    Packet: TypeAlias = av.Packet[av.VideoStream]

SLACK_FRAMES = 2
SLACK_SHARE = 0.01
"""How much of the declared length may be missing, the larger of the two: clocks are rounded to milliseconds
and a last frame may have no duration. No intact file was found short at all: 120 XviD clips with packed
B-frames decode to up to two frames fewer than declared, yet end a frame or two after the declared end."""

MOVIE = "mov,mp4,m4a,3gp,3g2,mj2"
DURATION_FORMATS = ("matroska,webm", MOVIE)
"""FFmpeg's names of the containers whose header states a duration. Others (.mpg, .ts) state nothing, and what
FFmpeg gives as their duration is an estimate from the file as it is; they are cut without a trace."""

STILL_OR_TEXT = ("image2", "tty", "bin", "xbin")
"""What FFmpeg offers to show as video and isn't, beside the "…_pipe" of single pictures."""


class PyavStream(FrameStream):
    """A video file decoded by PyAV, on one thread.

    segment: the first and last frame to give out, counted from 0, both included; reading stops there.
    Frames carrying a rotation (telephones) are turned upright.
    Raises VideoError if the file is absent, empty, not a video, or without a video stream.
    """

    def __init__(self, path: Path, segment: Segment | None = None) -> None:
        super().__init__(path)
        self._segment = segment
        try:
            if path.stat().st_size == 0:
                raise self.error("is empty (0 bytes)")
            self._container = av.open(str(path), metadata_errors="ignore")
        except av.FFmpegError as error:
            raise self.error(f"is not a video that can be read ({error.strerror})") from error
        except OSError as error:
            raise self.error(f"can't be opened ({error.strerror})") from error
        try:
            self._stream = self._video_stream()
        except VideoError:
            self.close()
            raise
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self._end = 0.0
        # One reformatter for the whole video: by default PyAV sets up one per frame, at half the speed.
        self._reformatter = VideoReformatter()

    def close(self) -> None:
        self._container.close()

    def walk(self) -> None:
        """Read every packet that is left without decoding: raises VideoError for damage and an early end."""
        for _ in self.packets():
            pass

    def declares(self) -> tuple[str, str, bytes]:
        """FFmpeg's names of the container and of the codec, and what the container says to its decoder."""
        codec = self._stream.codec_context
        return self._container.format.name, codec.name, codec.extradata or b""

    def seek(self, timestamp: int) -> None:
        """Go on reading at the last keyframe up to a time, in the stream's own units; the decoder forgets frames."""
        self._container.seek(timestamp, stream=self._stream)

    def _video_stream(self) -> av.VideoStream:
        kind = self._container.format.name
        if kind in STILL_OR_TEXT or kind.endswith("_pipe"):
            raise self.error(f"is a picture or text, not a video (FFmpeg format {kind})")
        for stream in self._container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                return stream
        raise self.error("has no video stream")

    def _frames(self) -> Iterator[Frame]:
        return map(self.rgb, self._decoded())

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        wanted, number = deque(numbers), -1
        for number, frame in enumerate(self._decoded()):
            self.check_size(number, frame)
            if number == wanted[0]:
                yield wanted.popleft(), self.rgb(frame)
                if not wanted:
                    return
        raise self.too_short(number + 1, numbers[-1])

    def rgb(self, frame: av.VideoFrame) -> Frame:
        """A decoded frame as uint8 [H, W, 3], turned upright."""
        try:
            rgb = np.asarray(self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), np.uint8)
        except (av.FFmpegError, ValueError) as error:
            raise self.error(f"has frames of pixel format {frame.format.name}: {error}") from error
        quarter_turns = _quarter_turns(frame)
        return np.rot90(rgb, quarter_turns) if quarter_turns else rgb

    def check_size(self, number: int, frame: av.VideoFrame) -> None:
        """Raises VideoError if the frame, upright, is not of the size of those checked before."""
        height, width = frame.height, frame.width
        self._check_size(number, *((width, height) if _quarter_turns(frame) % 2 else (height, width)))

    def _count(self) -> int:
        return sum(1 for _ in self._decoded())

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """The frames of the segment, not yet converted."""
        first, last = self._segment or (0, None)
        number = -1
        for number, frame in enumerate(self.decoded(self.packets())):
            if number >= first:
                yield frame
            if number == last:
                return
        if last is not None:
            raise self.error(f"has {number + 1:,} frames, too few for its segment {first:,} to {last:,}")

    def decoded(self, packets: Iterable[Packet]) -> Iterator[av.VideoFrame]:
        """The frames of these packets, not yet converted, as the decoder gives them. Raises VideoError."""
        n_decoded = 0
        try:
            for packet in packets:
                for frame in packet.decode():
                    n_decoded += 1
                    yield frame
        except av.FFmpegError as error:
            raise self.error(f"can't be decoded after frame {n_decoded:,} ({error.strerror})") from error

    def packets(self) -> Iterator[Packet]:
        """The video stream's packets; those of other streams only show how far the file reaches.

        The last has no bytes: decoding it gives the frames still held. Raises VideoError for damaged packets and
        an early end.
        """
        for packet in self._container.demux():
            if packet.pts is not None and packet.time_base:
                self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self._stream.index:
                continue
            if packet.is_corrupt:
                raise self.error(f"is damaged or cut short at {self._end:.2f} s (corrupt packet)")
            yield cast("Packet", packet)
        self._check_complete()

    def _check_complete(self) -> None:
        if self._container.format.name == MOVIE:
            listed = max((entry.pos + entry.size for entry in self._stream.index_entries), default=0)
            if listed > self._container.size:
                raise self.error(f"is cut short: {listed - self._container.size:,} bytes that it lists are missing")
        declared = self._declared_seconds()
        slack = max(SLACK_FRAMES / (self.fps or 10), SLACK_SHARE * declared)
        if self._end < declared - slack:
            raise self.error(f"is cut short: it declares {declared:.2f} s and ends at {self._end:.2f} s")

    def _declared_seconds(self) -> float:
        """How long the container says it is; 0 where it doesn't say."""
        kind, stream = self._container.format.name, self._stream
        if kind == "avi" and stream.time_base:
            # Packets, not frames, are compared: packed B-frames make the two differ in intact files.
            return float(stream.frames * stream.time_base)
        # A movie with a table of samples is told by that table; its duration follows its edit list instead.
        if kind in DURATION_FORMATS and stream.frames == 0 and self._container.duration:
            return self._container.duration / av.time_base
        return 0.0


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4

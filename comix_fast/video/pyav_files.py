"""Video files through PyAV, and how to tell that one ends early."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from comix_fast.errors import VideoError
from comix_fast.video.containers import AVI, MATROSKA, MOVIE, open_container, unreadable_kind
from comix_fast.video.frame_stream import FrameStream, Segment
from comix_fast.video.limits import Limits
from comix_fast.video.resize import Frame

if TYPE_CHECKING:
    # At run time av.Packet takes no parameter.
    Packet: TypeAlias = av.Packet[av.VideoStream]

SLACK_FRAMES = 2
SLACK_SHARE = 0.01
"""How much of the declared length may be missing, the larger of the two: clocks are rounded to milliseconds
and a last frame may have no duration. No intact file was found short at all: 120 XviD clips with packed
B-frames decode to up to two frames fewer than declared, yet end a frame or two after the declared end."""

DURATION_FORMATS = (MATROSKA, MOVIE)
"""FFmpeg's names of the containers whose header states a duration. Others (.mpg, .ts) state nothing, and what
FFmpeg gives as their duration is an estimate from the file as it is; they are cut without a trace."""

FIELDS = 2
"""Packets of one frame at most, where a container keeps the fields of interlaced video apart."""

LARGEST_TURN = 180
"""Degrees either way. FFmpeg tells of more where a display matrix is none of a rotation, as one of zeros."""


class PyavStream(FrameStream):
    """A video file decoded by PyAV, on one thread.

    segment: the first and last frame to give out, counted from 0, both included; reading stops there.
    Frames carrying a rotation (telephones) are turned upright, to the nearest quarter.
    limits: declared sizes and lengths are held against them before anything is decoded, then each packet's time and
        each frame's size and number as they come; FFmpeg takes no memory for pictures far beyond them.
    Raises VideoError if the file is absent, empty, no plain file, not a video, beyond the limits or without a video
    stream.
    """

    def __init__(self, path: Path, segment: Segment | None = None, limits: Limits | None = None) -> None:
        super().__init__(path, limits)
        self._segment = segment
        self._container = self._opened()
        rate = None
        try:
            self._stream = self._video_stream()
            context = self._stream.codec_context
            self._refuse(self.limits.too_large(context.width, context.height))
            # A length that is declared falsely is refused by _check_complete anyway, at the cost of reading it all.
            begins = max(0, self._container.start_time or 0) / av.time_base
            self._refuse(self.limits.too_long(self._declared_seconds() - begins, "declares"))
            rate = self._stream.average_rate or self._stream.guessed_rate
        except VideoError:
            self.close()
            raise
        self._stream.thread_type = "NONE"
        context.thread_count = 1
        if self.limits.decoder_pixels:
            context.options = {"max_pixels": str(self.limits.decoder_pixels)}
        self.fps = float(rate) if rate else None
        self._end = 0.0
        self._earliest: int | None = None
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

    def _opened(self) -> InputContainer:
        try:
            self._refuse(unreadable_kind(self.path))
            return open_container(self.path, self.limits)
        except av.ArgumentError as error:
            reason = "is not a video in a container that is read here; playlists, pictures and text are not followed"
            raise self.error(reason) from error
        except av.FFmpegError as error:
            raise self.error(f"is not a video that can be read ({error.strerror})") from error
        except OSError as error:
            raise self.error(f"can't be opened ({error.strerror})") from error
        except ValueError as error:
            raise self.error(f"can't be opened ({error})") from error

    def _video_stream(self) -> av.VideoStream:
        for stream in self._container.streams.video:
            if stream.disposition & Disposition.attached_pic:
                continue
            if stream.codec_context is None:
                raise self.error("has a video stream of a codec that is not known here")
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
                    self._refuse(self.limits.too_many(n_decoded) or self.limits.too_large(frame.width, frame.height))
                    yield frame
        except av.FFmpegError as error:
            raise self._undecodable(n_decoded, error) from error

    def _undecodable(self, n_decoded: int, error: av.FFmpegError) -> VideoError:
        reason = f"can't be decoded after frame {n_decoded:,} ({error.strerror})"
        # FFmpeg forgets a size that it refuses, for being beyond the limit or none that can be.
        if self.limits.max_pixels and not self._stream.codec_context.width:
            most = f"{self.limits.max_pixels:,}"
            reason += f": its next picture has no size that can be, or far more than the {most} pixels allowed"
            reason += " (--max-pixels sets the limit, 0 lifts it)"
        return self.error(reason)

    def packets(self) -> Iterator[Packet]:
        """The video stream's packets; those of other streams only show how far the file reaches.

        The last has no bytes: decoding it gives the frames still held. Raises VideoError for damaged packets and
        an early end.
        """
        n_packets = 0
        for packet in self._container.demux():
            if packet.pts is not None and packet.time_base:
                self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self._stream.index:
                continue
            if packet.is_corrupt:
                raise self.error(f"is damaged or cut short at {self._end:.2f} s (corrupt packet)")
            n_packets += 1
            # The two fields of a frame may come in packets of their own.
            self._refuse(self.limits.too_many(n_packets // FIELDS))
            self._refuse(self.limits.too_long(self._seconds(packet)))
            yield cast("Packet", packet)
        self._check_complete()

    def _seconds(self, packet: av.Packet[Any]) -> float:
        """From the earliest packet to this one; 0 for one without a time. No duration that is declared counts."""
        if packet.pts is None or not packet.time_base:
            return 0.0
        self._earliest = packet.pts if self._earliest is None else min(self._earliest, packet.pts)
        return float((packet.pts - self._earliest) * packet.time_base)

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
        if kind == AVI and stream.time_base:
            # Packets, not frames, are compared: packed B-frames make the two differ in intact files.
            return float(stream.frames * stream.time_base)
        # A movie with a table of samples is told by that table; its duration follows its edit list instead.
        if kind in DURATION_FORMATS and stream.frames == 0 and self._container.duration:
            return self._container.duration / av.time_base
        return 0.0


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4 if abs(frame.rotation) <= LARGEST_TURN else 0

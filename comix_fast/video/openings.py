"""Where a decoder may begin: packets of which their own bytes say that nothing before them is needed.

A container's keyframe mark isn't enough: it also stands on pictures whose successors reach back beyond them (open
groups of pictures, recovery points of a rolling refresh). What is asked for here is the codec's own promise.

Sources: ITU-T H.264 7.4.1.2.4 and table 7-1; H.265 table 7-1; ISO/IEC 14496-2 6.2.5; the VP9 bitstream
specification 6.2; ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1 (avcC, hvcC); ITU-T T.81 table B.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

START = b"\0\0\1"


class Kind(Enum):
    """What a packet is to those who would begin with it."""

    OPENING = "all pictures after it in the file are decoded without what comes before it"
    OTHER = "it may need what comes before"
    REORDERED = "as OTHER, and shown before the packet that it follows"


@dataclass(frozen=True)
class Content:
    """kind, and headers: what the packet tells the decoder for pictures to come (sizes, tables), as bytes."""

    kind: Kind
    headers: bytes = b""


Look = Callable[[bytes], Content | None]
"""Bytes of one packet to what is in it; None for what isn't understood."""


def looking(codec: str, extradata: bytes) -> Look | None:
    """How to look into packets of a codec, by FFmpeg's name; None for codecs that aren't known here.

    extradata: what the container hands to the decoder. Packets are in units with their lengths before them where
    it says so, between start codes otherwise.
    """
    if codec == "h264":
        length = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0
        return lambda packet: _h264(packet, length)
    if codec == "hevc":
        length = (extradata[21] & 3) + 1 if len(extradata) > 21 and extradata[0] == 1 else 0
        return lambda packet: _hevc(packet, length)
    return {"mpeg4": _mpeg4, "vp9": _vp9, "mjpeg": _mjpeg}.get(codec)


def _h264(packet: bytes, length: int) -> Content | None:
    """An IDR picture opens; parameter sets are headers."""
    return _units(packet, length, lambda head: head & 31, pictures=range(1, 6), opening={5}, headers={7, 8, 13, 15})


def _hevc(packet: bytes, length: int) -> Content | None:
    """An IDR picture opens; a clean random access picture (CRA) doesn't, as what follows may be shown before it."""
    return _units(
        packet, length, lambda head: head >> 1 & 63, pictures=range(32), opening={19, 20}, headers={32, 33, 34}
    )


def _units(
    packet: bytes, length: int, kind_of: Callable[[int], int], pictures: range, opening: set[int], headers: set[int]
) -> Content | None:
    found, said = [], b""
    for unit in _lengths(packet, length) if length else _starts(packet):
        if not unit:
            return None
        kind = kind_of(unit[0])
        if kind in pictures:
            found.append(kind in opening)
        elif kind in headers:
            said += unit.rstrip(b"\0") + START
    if not found or any(found) != all(found):
        return None
    return Content(Kind.OPENING if found[0] else Kind.OTHER, said)


def _lengths(packet: bytes, length: int) -> Iterator[bytes]:
    at = 0
    while at < len(packet):
        size = int.from_bytes(packet[at : at + length], "big")
        at += length + size
        yield packet[at - size : at] if at <= len(packet) else b""


def _starts(packet: bytes) -> Iterator[bytes]:
    at = packet.find(START)
    if at < 0:
        yield b""
    while at >= 0:
        following = packet.find(START, at + 3)
        yield packet[at + 3 : following] if following >= 0 else packet[at + 3 :]
        at = following


def _mpeg4(packet: bytes) -> Content | None:
    """An I-VOP opens, unless B-VOPs come after it (see Kind.REORDERED). Two VOPs in one packet aren't understood.

    What stands before the VOP are headers, save the time code of a group of pictures.
    """
    picture = packet.find(START + b"\xb6")
    if picture < 0 or picture + 4 >= len(packet) or packet.find(START + b"\xb6", picture + 4) >= 0:
        return None
    group = packet.find(START + b"\xb3", 0, picture)
    said = packet[:picture]
    if group >= 0:
        said = packet[:group] + packet[packet.find(START, group + 4) : picture]
    kinds = (Kind.OPENING, Kind.OTHER, Kind.REORDERED, Kind.OTHER)
    return Content(kinds[packet[picture + 4] >> 6], said)


def _vp9(packet: bytes) -> Content | None:
    """A key frame that is shown opens: it fills all reference frames and resets all contexts. Profiles 0 to 2."""
    if not packet or packet[0] >> 6 != 2 or packet[0] & 0x30 == 0x30:
        return None
    is_repeat, is_inter, is_shown = packet[0] >> 3 & 1, packet[0] >> 2 & 1, packet[0] >> 1 & 1
    return Content(Kind.OPENING if is_shown and not is_repeat and not is_inter else Kind.OTHER)


def _mjpeg(packet: bytes) -> Content | None:
    """Each picture opens that brings its own tables. Two fields in one packet aren't understood."""
    tables = packet[: packet.find(b"\xff\xda") + 1]
    if not packet.startswith(b"\xff\xd8") or packet.count(b"\xff\xd8") != 1:
        return None
    return Content(Kind.OPENING) if b"\xff\xdb" in tables and b"\xff\xc4" in tables else None

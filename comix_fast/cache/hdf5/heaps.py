"""Texts in an HDF5 file: each is a reference into a global heap, looked through before the HDF5 library follows it."""

from __future__ import annotations

import struct

from comix_fast.cache.hdf5.blocks import Blocks

TEXT_TYPE = bytes.fromhex("1901010010000000100000000100000000000800")
"""The type of texts of any length in UTF-8, as a message of HDF5 has it."""
LEAST_HEAP = 4096
_HEAD = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HHIQ")
_REFERENCE = struct.Struct("<IQI")
_NOTHING = (0, -1)


def c_string(texts: bytes, at: int) -> bytes | None:
    """The text that begins at a byte and ends before the next zero; None if there is none."""
    end = texts.find(b"\0", at) if at < len(texts) else -1
    return texts[at:end] if end >= 0 else None


class Heaps:
    """The global heaps of a file, each looked through once."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._objects: dict[int, dict[int, tuple[int, int]]] = {}

    def check_texts(self, references: bytes, n_texts: int, here: str) -> None:
        """Raises CacheError unless every reference is to a text that is there, and as long as the reference says."""
        if len(references) != 16 * n_texts:
            self._blocks.refuse(f"{here} has texts of another form")
        for length, heap, number in _REFERENCE.iter_unpack(references):
            if length:
                objects = self._objects.get(heap)
                if objects is None:
                    objects = self._objects[heap] = self._looked_through(heap, here)
                if objects.get(number, _NOTHING)[1] < length:
                    self._blocks.refuse(f"{here} has a text that is not there")

    def texts(self, references: bytes, here: str) -> list[str]:
        """The texts that checked references are to. Raises CacheError if one is not UTF-8."""
        read, objects = self._blocks.read, self._objects
        found = [
            read(objects[heap][number][0], length, here) if length else b""
            for length, heap, number in _REFERENCE.iter_unpack(references)
        ]
        try:
            return [text.decode() for text in found]
        except UnicodeDecodeError as error:
            self._blocks.refuse(f"{here} has a text that is not UTF-8: {error}")

    def _looked_through(self, at: int, here: str) -> dict[int, tuple[int, int]]:
        """Place in the file and size of each object of a heap, by its number."""
        blocks, place = self._blocks, 16
        objects: dict[int, tuple[int, int]] = {}
        sign, version, size = _HEAD.unpack(blocks.read(at, 16, here))
        if sign != b"GCOL" or version != 1 or size < LEAST_HEAP or size % 8:
            blocks.refuse(f"{here} has texts of another form")
        content = blocks.take(at, size, here)
        while place + 16 <= size:
            number, _, _, length = _OBJECT.unpack_from(content, place)
            # Number 0 is what is free, and counts its own head.
            taken = length if number == 0 else 16 + (length + 7) // 8 * 8
            if number in objects or not 16 <= taken <= size - place:
                blocks.refuse(f"{here} has texts of another form")
            objects[number] = at + place + 16, length
            place += taken
        objects.pop(0, None)
        return objects

"""Looks through the structure of an HDF5 file before the HDF5 library sees it: hostile structure can crash it.

Known here is what h5py writes for us, and what it leaves when an array is replaced: superblock 0, groups with symbol
tables, object headers of version 1, numbers and texts, arrays in one piece or in chunks. All else of HDF5 is refused:
soft and external links, virtual arrays, external storage, filters of plug-ins, references, compound and named types,
attributes that are no text. Written from the HDF5 file format specification, version 3.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from comix_fast.cache.hdf5.arrays import check_array
from comix_fast.cache.hdf5.blocks import Blocks
from comix_fast.cache.hdf5.heaps import TEXT_TYPE, Heaps, c_string

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF
# Versions 0, addresses and lengths of 8 bytes, at most 8 names a leaf and 32 leaves a node, no flags, base address 0.
_PLAIN = struct.pack("<8BHHIQQ", 0, 0, 0, 0, 0, 8, 8, 0, 4, 16, 0, 0, UNDEFINED)
_SUPERBLOCK_BYTES = 96
_LEAF_BYTES, _NODE_BYTES = 8 + 8 * 40, 24 + 8 * 65
_ENTRY = struct.Struct("<QQII16s")
_MESSAGE = struct.Struct("<HHB")
_NIL, _SPACE, _TYPE, _OLD_FILL, _FILL, _LAYOUT, _FILTERS, _ATTRIBUTE, _MORE, _GROUP = 0, 1, 3, 4, 5, 8, 11, 12, 16, 17
_TIMES = (14, 18)
_ONCE = frozenset({_SPACE, _TYPE, _OLD_FILL, _FILL, _LAYOUT, _FILTERS, _GROUP, *_TIMES})
_CONSTANT_OR_NOT = (0, 1, 4, 5)
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
MOST_NAME = 64
MOST_DEPTH = 4
MOST_ENTRIES = 2000


def check_structure(descriptor: int, n_bytes: int, where: str, sealed: bool) -> Structure:
    """Raises CacheError unless the first n_bytes bytes of an open file are HDF5 as comix-fast writes it, none missing.

    sealed: n_bytes is where the HDF5 file must end; otherwise it may end before. OSError if it can't be read.
    Gives what was found, to be asked while the file is open.
    """
    blocks = Blocks(descriptor, n_bytes, where)
    if n_bytes < _SUPERBLOCK_BYTES:
        blocks.refuse("it is too short for HDF5")
    start = blocks.take(0, _SUPERBLOCK_BYTES, "its beginning")
    if not start.startswith(SIGNATURE):
        blocks.refuse("it is not HDF5")
    if start[8:40] != _PLAIN:
        blocks.refuse("its HDF5 is of another form (h5repack --low=0 --high=2 may turn it into the one read here)")
    end, driver = struct.unpack_from("<QQ", start, 40)
    if end > n_bytes or (sealed and end != n_bytes):
        blocks.refuse(f"it should have {end:,} bytes, it has {n_bytes:,}")
    if driver != UNDEFINED:
        blocks.refuse("it is part of several files")
    blocks.n_bytes = end
    structure = Structure(blocks)
    structure.look_through(start[56:], "", 0)
    blocks.require_apart()
    return structure


class Structure:
    """Every element that can be reached from the root, looked through.

    members: names of what is in each group. shapes: of each array. Both by the element's path: "/", "/views/plain".
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.heaps = Heaps(blocks)
        self.members: dict[str, list[str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._attributes: dict[str, dict[str, bytes]] = {}
        self._texts: dict[str, bytes] = {}
        self._known_heads: dict[bytes, str] = {}
        self._n_entries = 0

    def __contains__(self, element: str) -> bool:
        return element in self._attributes

    def attribute(self, element: str, name: str) -> str | None:
        """A text that is kept with an element; None if there is none."""
        found = self._attributes.get(element, {}).get(name)
        return None if found is None else self.heaps.texts(found, element)[0]

    def texts(self, array: str) -> list[str] | None:
        """The texts of an array; None if it is no such array."""
        found = self._texts.get(array)
        return None if found is None else self.heaps.texts(found, array)

    def look_through(self, entry: bytes, name: str, depth: int) -> None:
        """A group or an array, by its entry in the table of the group that holds it."""
        refuse, here = self.blocks.refuse, name or "/"
        _, header, cached, _, scratch = _ENTRY.unpack(entry)
        if cached > 1:
            refuse(f"{here} is a link")
        seen: dict[int, bytes] = {}
        attributes = self._attributes[here] = {}
        for kind, body in self._messages(header, here):
            if kind in _ONCE:
                if kind in seen:
                    refuse(f"{here} says a thing twice")
                seen[kind] = body
            elif kind == _ATTRIBUTE:
                self._check_attribute(body, attributes, here)
            elif kind != _NIL:
                refuse(f"{here} holds what no cache holds (message {kind} of HDF5)")
        if _GROUP not in seen:
            messages = (seen.get(kind, b"") for kind in (_SPACE, _TYPE, _LAYOUT, _FILTERS))
            self.shapes[here], texts = check_array(self.blocks, self.heaps, here, *messages)
            if texts is not None:
                self._texts[here] = texts
        elif seen.keys() & {_SPACE, _TYPE, _LAYOUT, _FILTERS} or depth >= MOST_DEPTH:
            refuse(f"{here} is no group of a cache")
        if cached == 1 and scratch != seen.get(_GROUP, b"")[:16]:
            refuse(f"{here} is a group that is listed as another")
        if _GROUP in seen:
            self._group(seen[_GROUP].ljust(16, b"\xff"), name, depth)

    def _messages(self, at: int, here: str) -> Iterator[tuple[int, bytes]]:
        refuse = self.blocks.refuse
        version, expected, references, size = struct.unpack("<BxHII4x", self.blocks.take(at, 16, here))
        if version != 1 or not references or size > self.blocks.n_bytes:
            refuse(f"{here} has a header of another form")
        parts, found = [(at + 16, size)], 0
        while parts:
            first, size = parts.pop()
            content, place = self.blocks.take(first, size, here), 0
            while place + 8 <= size:
                kind, length, flags = _MESSAGE.unpack_from(content, place)
                body = content[place + 8 : place + 8 + length]
                place += 8 + length
                if flags not in _CONSTANT_OR_NOT or place > size or length % 8:
                    refuse(f"{here} has a header of another form")
                found += 1
                if kind != _MORE:
                    yield kind, body
                elif length >= 16:
                    parts.append(struct.unpack_from("<QQ", body))
            if place != size:
                refuse(f"{here} has a header that breaks off")
        if found != expected:
            refuse(f"{here} has a header of {found:,} parts, not of {expected:,}")

    def _check_attribute(self, body: bytes, attributes: dict[str, bytes], here: str) -> None:
        # All but the last 16 bytes of a text's attribute are the same wherever it stands.
        head, reference = body[:-16], body[-16:]
        name = self._known_heads.get(head)
        if name is None:
            name = self._known_heads[head] = self._attribute_name(head, here)
        if name in attributes:
            self.blocks.refuse(f"{here} says a thing twice")
        attributes[name] = reference
        self.heaps.check_texts(reference, 1, here)

    def _attribute_name(self, head: bytes, here: str) -> str:
        """From all of an attribute but its value, which must be one text."""
        if len(head) >= 8:
            version, _, n_name, n_type, n_space = struct.unpack_from("<BBHHH", head)
            type_at = 8 + (n_name + 7) // 8 * 8
            space_at = type_at + (n_type + 7) // 8 * 8
            if version == 1 and n_type >= len(TEXT_TYPE) and n_space == 8 and len(head) == space_at + 8:
                name = c_string(head[8 : 8 + n_name], 0)
                if (
                    name
                    and len(name) == n_name - 1
                    and head[type_at : type_at + n_type].rstrip(b"\0") == TEXT_TYPE.rstrip(b"\0")
                    and head[space_at:] == b"\x01\0\0\0\0\0\0\0"
                ):
                    return name.decode("latin-1")
        return self.blocks.refuse(f"{here} has an attribute that is not one text")

    def _group(self, places: bytes, name: str, depth: int) -> None:
        here, last = name or "/", b""
        tree, heap = struct.unpack_from("<QQ", places)
        texts, members = self._names(heap, here), self.members.setdefault(here, [])
        for entry in self._entries(tree, texts, here):
            below = c_string(texts, int.from_bytes(entry[:8], "little"))
            text = (below or b"").decode("latin-1")
            if not 0 < len(text) <= MOST_NAME or not _NAME.issuperset(text):
                what = "a view" if here == "/views" else f"a part of {here}"
                self.blocks.refuse(f"it has {what} {text!r:.80}, which is no name")
            if below is None or below <= last:
                self.blocks.refuse(f"the names of {here} are in no order")
            last = below
            members.append(text)
            self._n_entries += 1
            if self._n_entries > MOST_ENTRIES:
                self.blocks.refuse("it holds too many things")
            self.look_through(entry, f"{name}/{text}", depth + 1)

    def _names(self, heap: int, here: str) -> bytes:
        """What the names of a group's members are kept in."""
        blocks, what = self.blocks, f"the names of {here}"
        sign, version, size, free, at = struct.unpack("<4sB3xQQQ", blocks.take(heap, 32, what))
        if sign != b"HEAP" or version:
            blocks.refuse(f"{what} are of another form")
        texts = blocks.take(at, size, what)
        left = size
        # A chain of free blocks, each with the offset of the next and its own size; 1 ends it.
        while free != 1:
            if free % 8 or free + 16 > size:
                blocks.refuse(f"{what} are of another form")
            at = free
            free, count = struct.unpack_from("<QQ", texts, at)
            left -= count
            if not 16 <= count <= size - at or left < 0:
                blocks.refuse(f"{what} are of another form")
        return texts

    def _entries(self, tree: int, texts: bytes, here: str) -> Iterator[bytes]:
        """A group's members in the order of their names, each 40 bytes."""
        blocks, what = self.blocks, f"the table of {here}"
        ahead: list[tuple[int, int]] = [(tree, -1)]
        while ahead:
            at, level = ahead.pop()
            if level == 0:
                leaf = blocks.take(at, _LEAF_BYTES, what)
                sign, version, count = struct.unpack_from("<4sBxH", leaf)
                if sign != b"SNOD" or version != 1 or count > 8:
                    blocks.refuse(f"{what} is of another form")
                yield from (leaf[first : first + 40] for first in range(8, 8 + 40 * count, 40))
                continue
            node = blocks.take(at, _NODE_BYTES, what)
            sign, kind, own, count, left, right = struct.unpack_from("<4sBBHQQ", node)
            siblings = all(one == UNDEFINED or one < blocks.n_bytes for one in (left, right))
            if sign != b"TREE" or kind or count > 32 or not siblings or (level >= 0 and own != level - 1):
                blocks.refuse(f"{what} is of another form")
            pairs = struct.unpack_from(f"<{2 * count + 1}Q", node, 24)
            if any(c_string(texts, key) is None for key in pairs[::2]):
                blocks.refuse(f"{what} is of another form")
            ahead += [(child, own) for child in reversed(pairs[1::2])]

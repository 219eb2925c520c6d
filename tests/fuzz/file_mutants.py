"""Files with other bytes, of other lengths, in each other's place, and what is no file at all."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from comix_fast.cache.seal import read_seal, seal_of

if TYPE_CHECKING:
    from mutants import Cache

NUMBERS = (0, 1, 7, 8, 64, 96, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def put(path: Path, content: bytes) -> None:
    """As a file of its own, as HDF5 may still hold the one that was there."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)


def places(cache: Cache, name: str, size: int, rng: random.Random, structure: bool) -> Callable[[], int]:
    """Draws places among the first `size` bytes of a file: in its structure, or anywhere in it."""
    edges = [0, *(edge for span in cache.spans.get(name, []) for edge in span), size]
    outside = [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if last > first]
    weights = [last - first for first, last in outside]

    def draw() -> int:
        if not structure:
            return rng.randrange(size)
        ((first, last),) = rng.choices(outside, weights)
        return rng.randrange(first, last)

    return draw


def broken(content: bytearray, draw: Callable[[], int], rng: random.Random) -> str:
    """Changes some bytes."""
    way = rng.choice(("bit", "byte", "burst", "block", "number", "number", "moved"))
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = draw()
        if way == "bit":
            content[at] ^= 1 << rng.randrange(8)
        elif way == "byte":
            content[at] = rng.randrange(256)
        elif way == "burst":
            burst = rng.randbytes(rng.randint(2, 64))[: len(content) - at]
            content[at : at + len(burst)] = burst
        elif way == "block":
            count = min(rng.choice((8, 512, 4096)), len(content) - at)
            content[at : at + count] = rng.choice((b"\0", b"\xff", b"A")) * count
        elif way == "number":
            size = rng.choice((2, 4, 8))
            at = min(at - at % size, len(content) - size)
            value = rng.choice((*NUMBERS, len(content), rng.randrange(len(content))))
            content[max(0, at) : at + size] = (value % 256**size).to_bytes(size, "little")
        else:
            count, to = rng.choice((8, 40, 328)), draw()
            piece = content[at : at + count][: len(content) - to]
            content[to : to + len(piece)] = piece
    return way


def bytes_changed(cache: Cache, rng: random.Random) -> str:
    name = rng.choice(sorted(cache.files))
    content = bytearray(cache.files[name])
    if not content:
        return f"{name}: empty"
    way = broken(content, places(cache, name, len(content), rng, rng.random() < 0.5), rng)
    put(cache.root / name, bytes(content))
    return f"{name}: {way}"


def length_changed(cache: Cache, rng: random.Random) -> str:
    name = rng.choice(sorted(cache.files))
    content = cache.files[name]
    at = rng.randrange(len(content) + 1)
    way = rng.choice(("cut", "cut at a page", "appended", "inserted", "taken out", "doubled"))
    more = rng.choice((b"\0", b"\n", b" ", rng.randbytes(1))) * rng.choice((1, 8, 100, 4096))
    changed = {
        "cut": content[:at],
        "cut at a page": content[: at - at % 512],
        "appended": content + more,
        "inserted": content[:at] + more + content[at:],
        "taken out": content[:at] + content[at + len(more) :],
        "doubled": content + content,
    }[way]
    put(cache.root / name, changed)
    return f"{name}: {way} at {at:,}"


def structure_resealed(cache: Cache, rng: random.Random) -> str:
    """What somebody who knows the seal could do blindly; form 1 has none."""
    name = rng.choice(sorted(cache.spans))
    content = bytearray(unsealed(cache, name))
    way = broken(content, places(cache, name, len(content), rng, True), rng)
    put(cache.root / name, sealed(cache, name, bytes(content)))
    return f"{name}: {way}"


def unsealed(cache: Cache, name: str) -> bytes:
    with (cache.root / name).open("rb") as file:
        seal = read_seal(file, name)
    return cache.files[name] if seal is None else cache.files[name][: seal.n_bytes]


def sealed(cache: Cache, name: str, content: bytes) -> bytes:
    if cache.form == "form-1":
        return content
    spans = [(first, last - first) for first, last in cache.spans[name] if last <= len(content)]
    return content + seal_of(content, spans).encoded()


def swapped(cache: Cache, rng: random.Random) -> str:
    """One file's content in place of another's. Of two surveys, the one that is lost is made anew by extract."""
    one, other = rng.sample(sorted(cache.files), 2)
    while one.startswith("surveys") and other.startswith("surveys"):
        one, other = rng.sample(sorted(cache.files), 2)
    put(cache.root / one, cache.files[other])
    return f"{one}: what {other} holds"


def no_plain_file(cache: Cache, rng: random.Random) -> str:
    """Whoever opens it might wait forever, read forever, or read what is none of theirs."""
    name = rng.choice(sorted(cache.files))
    path = cache.root / name
    if path.parent != cache.root and rng.random() < 0.2:
        return folder_replaced(cache, path.parent, rng)
    away = cache.root.with_name(f"{cache.root.name}-away")
    away.mkdir(exist_ok=True)
    elsewhere = away / path.name
    elsewhere.write_bytes(cache.files[name])
    path.unlink()
    way = rng.choice(("pipe", "folder", "socket", "/dev/zero", "/dev/full", "link out", "link inside", "loop"))
    if way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    elif way == "socket":
        bound(path)
    elif way == "link inside":
        inside = path.with_name("elsewhere.bin")
        inside.write_bytes(cache.files[name])
        path.symlink_to(inside.name)
    else:
        path.symlink_to({"link out": elsewhere, "loop": path.name}.get(way, way))
    return f"{name}: {way}"


def bound(path: Path) -> None:
    """A socket, by a short name, as theirs are limited."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def folder_replaced(cache: Cache, folder: Path, rng: random.Random) -> str:
    """shards, surveys or parts: a link to where they are, or no folder."""
    way = rng.choice(("link out", "file", "pipe"))
    away = cache.root.with_name(f"{cache.root.name}-away")
    shutil.rmtree(away, ignore_errors=True)
    folder.rename(away)
    if way == "link out":
        folder.symlink_to(away)
    elif way == "file":
        folder.write_bytes(b"")
    else:
        os.mkfifo(folder)
    return f"{folder.name}: {way}"

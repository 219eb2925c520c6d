"""HDF5 that is in order, sealed, and hostile: what only somebody who means it writes. Made with h5py itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from array_mutants import (
    TEXT,
    array_of,
    big_endian,
    bomb,
    cut_heap,
    external_storage,
    huge_shape,
    in_chunks,
    marks,
    missing_chunk,
    named_twice,
    named_type,
    never_written,
    other_backgrounds,
    other_filter,
    other_shape,
    other_texts,
    other_type,
    references,
    unknown_filter,
    virtual,
)
from file_mutants import put

from builders import edited

if TYPE_CHECKING:
    from mutants import Cache

Edit = Callable[[h5py.File, random.Random, Path], None]


def hostile(cache: Cache, rng: random.Random) -> str:
    return edit(cache, rng, SHARD_EDITS, SURVEY_EDITS)


def repacked(cache: Cache, rng: random.Random) -> str:
    """Nothing hostile: features in chunks, as h5repack leaves them."""
    return edit(cache, rng, {"gzip": in_chunks, "big-endian": big_endian}, {"unchanged": lambda *_: None})


def edit(cache: Cache, rng: random.Random, shards: dict[str, Edit], surveys: dict[str, Edit]) -> str:
    name = rng.choice(sorted(cache.spans))
    edits = shards if name.startswith("shards") else surveys
    way = rng.choice(sorted(edits))
    # A file of its own first, as HDF5 may still hold the one that was there.
    put(cache.root / name, cache.files[name])
    away = cache.root.with_name(f"{cache.root.name}-away")
    away.mkdir(exist_ok=True)
    with edited(cache.root / name) as file:
        edits[way](file, rng, away)
    return f"{name}: {way}"


def soft_link(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = array_of(file, rng)
    file.move(name, "kept")
    file[name] = h5py.SoftLink("/kept")


def external_link(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = array_of(file, rng)
    with h5py.File(away / "other.h5", "w") as other:
        file.copy(name, other, "there")
    del file[name]
    file[name] = h5py.ExternalLink(str(away / "other.h5"), "/there")


def external_group(file: h5py.File, rng: random.Random, away: Path) -> None:
    with h5py.File(away / "other.h5", "w") as other:
        file.copy("videos", other, "videos")
    del file["videos"]
    file["videos"] = h5py.ExternalLink(str(away / "other.h5"), "/videos")


def hostile_attribute(file: h5py.File, rng: random.Random, away: Path) -> None:
    element = file[rng.choice(("/", "videos", array_of(file, rng)))]
    name = rng.choice(("encoding-type", "encoding-version", "key" if element.name == "/" else "encoding-type"))
    value = rng.choice(
        (
            np.arange(4),
            np.array(["2", "2"], object),
            7,
            2.0,
            np.bytes_(b"2"),
            "x" * 1_000_000,
            "\x1b[2J" * 10,
            "99",
            "",
            h5py.Empty("f"),
            np.zeros(1000),
            np.array([("a", 1)], [("a", "S2"), ("b", "<i4")]),
            file["videos"].ref,
        )
    )
    del element.attrs[name]
    element.attrs[name] = value


def no_utf8_attribute(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = rng.choice(("encoding-type", "key"))
    del file.attrs[name]
    file.attrs.create(name, b"\xff\xfe", dtype=TEXT)


def many_attributes(file: h5py.File, rng: random.Random, away: Path) -> None:
    for number in range(2000):
        file["videos"].attrs[f"a{number}"] = number


def other_numbers(file: h5py.File, rng: random.Random, away: Path) -> None:
    """Numbers that can't be, in an array of the right kind."""
    low, high = -(2**63), 2**63 - 1
    choices: dict[str, tuple[Any, ...]] = {
        "videos/label": (-2, low),
        "videos/n_frames": (-1, low),
        "videos/n_bytes": (-1, low),
        "videos/fps": (-1.0, np.inf, -np.inf),
    }
    if "views" in file:
        choices |= {"views/plain/starts": (-1, low), "views/plain/offsets": (-1, low, high, 10**6)}
        choices["views/bgmix-0/gamma"] = (-0.1, 1.1, np.inf, -np.inf)
    name = rng.choice(sorted(choices))
    values = file[name][...]
    values[rng.randrange(len(values))] = rng.choice(choices[name])
    file[name][...] = values


def offsets_that_wrap(file: h5py.File, rng: random.Random, away: Path) -> None:
    """Differences that overflow are all positive; the numbers fall."""
    offsets = file["views/plain/offsets"][...]
    wild = [0, *(2**63 - 1, -(2**62), 2**62)[: len(offsets) - 2], offsets[-1]]
    file["views/plain/offsets"][...] = wild if len(offsets) > 2 else offsets[::-1]


def hostile_views(file: h5py.File, rng: random.Random, away: Path) -> None:
    file["views"].move("plain", rng.choice(("..plain", "\x1b[2J", "a b", "Ä", "x" * 300, "PLAIN", "plain\n")))


def many_views(file: h5py.File, rng: random.Random, away: Path) -> None:
    for number in range(3000):
        file["views"].create_group(f"x{number}")


def nested_views(file: h5py.File, rng: random.Random, away: Path) -> None:
    inside = file["views"]
    for _ in range(300):
        inside = inside.create_group("views")


def loop(file: h5py.File, rng: random.Random, away: Path) -> None:
    file["views/plain/more"] = file["views"]


def twice(file: h5py.File, rng: random.Random, away: Path) -> None:
    """A hard link to what has a name already."""
    file["views/more"] = file["views/plain"]


def group_for_array(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = rng.choice(("videos/id", "videos/label", "views/plain/starts" if "views" in file else "backgrounds"))
    kept = marks(file[name])
    del file[name]
    file.create_group(name).attrs.update(kept)


def array_for_group(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = rng.choice(("videos", "views/plain", "views") if "views" in file else ("videos",))
    kept = marks(file[name])
    del file[name]
    file.create_dataset(name, data=np.arange(3)).attrs.update(kept)


def missing(file: h5py.File, rng: random.Random, away: Path) -> None:
    del file[rng.choice((array_of(file, rng), "videos"))]


COMMON: dict[str, Edit] = {
    edit.__name__.replace("_", " "): edit
    for edit in (
        soft_link, external_link, external_group, virtual, external_storage, huge_shape, never_written, missing_chunk,
        bomb, unknown_filter, other_filter, other_type, references, named_type, other_shape, other_texts, named_twice,
        hostile_attribute, no_utf8_attribute, many_attributes, other_numbers, group_for_array, array_for_group, missing,
        cut_heap,
    )
}  # fmt: skip
SHARD_EDITS = COMMON | {
    edit.__name__.replace("_", " "): edit
    for edit in (offsets_that_wrap, hostile_views, many_views, nested_views, loop, twice)
}
SURVEY_EDITS = COMMON | {"other backgrounds": other_backgrounds}

"""HDF5 that is in order, sealed, and hostile: what only somebody who means it writes. Made with h5py itself."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from file_mutants import put

from builders import edited

if TYPE_CHECKING:
    from mutants import Cache

Edit = Callable[[h5py.File, random.Random, Path], None]
NUMBERS = ("videos/label", "videos/n_frames", "videos/fps", "videos/n_bytes")
IN_VIEW = ("features", "starts", "offsets")
TEXT = h5py.string_dtype("utf-8")
HUGE = 10**9


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


def marks(element: h5py.HLObject) -> dict[str, Any]:
    return dict(element.attrs)


def array_of(file: h5py.File, rng: random.Random) -> str:
    """One of the arrays that are always read."""
    if "views" not in file:
        return rng.choice(("backgrounds", *NUMBERS, "videos/id", "videos/sha256"))
    return rng.choice((*NUMBERS, "videos/id", *(f"views/plain/{name}" for name in IN_VIEW)))


def numbers_of(file: h5py.File, rng: random.Random) -> str:
    return rng.choice(NUMBERS if "views" not in file else (*NUMBERS, *(f"views/plain/{name}" for name in IN_VIEW)))


def replaced(file: h5py.File, name: str, **storage: Any) -> None:
    """An array in another's place, with its marks."""
    kept = marks(file[name])
    del file[name]
    file.create_dataset(name, **storage).attrs.update(kept)


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


def virtual(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    values, kept = file[name][...], marks(file[name])
    with h5py.File(away / "source.h5", "w") as other:
        other["there"] = values
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[...] = h5py.VirtualSource(str(away / "source.h5"), "there", values.shape)
    del file[name]
    file.create_virtual_dataset(name, layout).attrs.update(kept)


def external_storage(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    values = file[name][...]
    (away / "raw").write_bytes(values.tobytes())
    replaced(file, name, shape=values.shape, dtype=values.dtype, external=[(str(away / "raw"), 0, values.nbytes)])


def huge_shape(file: h5py.File, rng: random.Random, away: Path) -> None:
    """Chunks that were never written: they would be read as zeros."""
    name = numbers_of(file, rng)
    shape = (HUGE, *file[name].shape[1:])
    replaced(file, name, shape=shape, dtype=file[name].dtype, chunks=(min(HUGE, 1000), *shape[1:]))


def never_written(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    replaced(file, name, shape=file[name].shape, dtype=file[name].dtype)


def missing_chunk(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    values = file[name][...]
    replaced(file, name, shape=values.shape, dtype=values.dtype, chunks=(1, *values.shape[1:]))
    file[name][1:] = values[1:]


def bomb(file: h5py.File, rng: random.Random, away: Path) -> None:
    """A hundred chunks of 32 MB of zeros, each some KB in the file."""
    name = "views/plain/features" if "views" in file else "videos/label"
    dtype = file[name].dtype
    width = 1 << (11 if name.endswith("features") else 22)
    shape, chunk = ((100 * 8192, width), (8192, width)) if name.endswith("features") else ((100 * width,), (width,))
    replaced(file, name, shape=shape, dtype=dtype, chunks=chunk, compression="gzip", compression_opts=9)
    packed = zlib.compress(bytes(int(np.prod(chunk)) * dtype.itemsize), 9)
    for number in range(100):
        place = (number * chunk[0], 0)[: len(chunk)]
        file[name].id.write_direct_chunk(place, packed)


def unknown_filter(file: h5py.File, rng: random.Random, away: Path) -> None:
    """One that HDF5 looks for among plug-ins."""
    name = numbers_of(file, rng)
    values, kept = file[name][...], marks(file[name])
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(values.shape)
    plan.set_filter(rng.choice((32015, 32001, 307, 257)), h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    del file[name]
    array = file.create_dataset(name, shape=values.shape, dtype=values.dtype, dcpl=plan)
    array[...] = values
    array.attrs.update(kept)


def other_filter(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    values = file[name][...]
    how: dict[str, Any] = {"compression": "lzf"} if values.dtype.kind == "f" else {"scaleoffset": 0}
    replaced(file, name, data=values, chunks=values.shape, **how)


def other_type(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    shape = file[name].shape
    enum = h5py.enum_dtype({"a": 0, "b": 1}, "i8")
    chosen = rng.choice(
        (
            *(np.zeros(shape, dtype) for dtype in ("<i1", "<u8", ">i8", "<f4", ">f8", "<c8", "V8", "S8", "?")),
            np.zeros(shape, [("a", "<i8"), ("b", "<f2")]),
            np.zeros(shape, np.dtype(("<i8", (2,)))),
            np.zeros(shape, enum),
        )
    )
    replaced(file, name, data=chosen)


def references(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    shape = file[name].shape
    kind = rng.choice((h5py.ref_dtype, h5py.regionref_dtype, h5py.vlen_dtype("<i8")))
    replaced(file, name, shape=shape, dtype=kind)
    if kind is h5py.ref_dtype:
        file[name][...] = np.full(shape, file["videos"].ref, dtype=object)


def named_type(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    values = file[name][...]
    file["type"] = values.dtype
    replaced(file, name, data=values, dtype=file["type"])
    del file["type"]


def other_shape(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = numbers_of(file, rng)
    values = file[name][...]
    chosen = rng.choice(
        (
            lambda: {"data": values[..., None]},
            lambda: {"data": values[:-1] if len(values) > 1 else np.concatenate([values, values])},
            lambda: {"data": np.concatenate([values, values])},
            lambda: {"data": values.reshape(-1)[0]},
            lambda: {"data": values[:0]},
            lambda: {"data": h5py.Empty(values.dtype)},
        )
    )
    replaced(file, name, **chosen())


def other_texts(file: h5py.File, rng: random.Random, away: Path) -> None:
    name = "videos/id"
    n = len(file[name])
    chosen = rng.choice(
        (
            lambda: {"data": np.array([b"a%d" % k for k in range(n)], "S4")},
            lambda: {"data": np.array([f"a{k}" for k in range(n + 1)], object), "dtype": TEXT},
            lambda: {"data": np.array([f"a{k}" for k in range(n)], object)[:, None], "dtype": TEXT},
            lambda: {"data": "one", "dtype": TEXT},
            lambda: {"data": np.array([b"\xff\xfe%d" % k for k in range(n)], object), "dtype": TEXT},
            lambda: {"data": np.arange(n)},
            lambda: {"shape": (n,), "dtype": h5py.vlen_dtype("u1")},
        )
    )
    replaced(file, name, **chosen())


def named_twice(file: h5py.File, rng: random.Random, away: Path) -> None:
    ids = file["videos/id"]
    values = [*ids.asstr()[...]]
    replaced(file, "videos/id", data=np.array([values[0]] * (len(values) + (len(values) == 1)), object), dtype=TEXT)


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
    name = array_of(file, rng)
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


def other_backgrounds(file: h5py.File, rng: random.Random, away: Path) -> None:
    shape = file["backgrounds"].shape
    chosen = rng.choice(
        (
            lambda: {"data": np.zeros(shape, "<u2")},
            lambda: {"data": np.zeros((shape[0] + 1, *shape[1:]), "u1")},
            lambda: {"data": np.zeros((*shape[:3], 4), "u1")},
            lambda: {"data": np.zeros((*shape[:2], 1, 3), "u1")},
            lambda: {"shape": (shape[0], 10**5, 10**5, 3), "dtype": "u1", "chunks": (1, 1000, 1000, 3)},
            lambda: {"shape": (shape[0], 30_000, 30_000, 3), "dtype": "u1", "chunks": (1, 30_000, 30_000, 3)},
        )
    )
    replaced(file, "backgrounds", **chosen())


def cut_heap(file: h5py.File, rng: random.Random, away: Path) -> None:
    """Texts said to be longer than they are: read on, they would be other memory's."""
    array = file["videos/id"]
    place, size = array.id.get_offset(), array.id.get_storage_size()
    name = file.filename
    file.close()
    content = bytearray(Path(name).read_bytes())
    for at in range(place, place + size, 16):
        content[at : at + 4] = struct.pack("<I", 2**32 - 1)
    Path(name).write_bytes(content)


def in_chunks(file: h5py.File, rng: random.Random, away: Path) -> None:
    values = file["views/plain/features"][...]
    replaced(
        file, "views/plain/features", data=values, chunks=(2, values.shape[1]), compression="gzip", shuffle=True,
        fletcher32=rng.random() < 0.5,
    )  # fmt: skip


def big_endian(file: h5py.File, rng: random.Random, away: Path) -> None:
    replaced(file, "views/plain/features", data=file["views/plain/features"][...], dtype=">f2")


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

"""Arrays in HDF5 that are in order, and hostile: of other types, shapes and places than those of a cache."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

NUMBERS = ("videos/label", "videos/n_frames", "videos/fps", "videos/n_bytes")
IN_VIEW = ("features", "starts", "offsets")
TEXT = h5py.string_dtype("utf-8")
HUGE = 10**9


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
    """A hundred chunks of 32 MB of zeros, each some 32 KB in the file."""
    n_chunk = 1 << 22
    replaced(file, "videos/label", shape=(100 * n_chunk,), dtype="<i8", chunks=(n_chunk,), compression="gzip")
    packed = zlib.compress(bytes(8 * n_chunk), 9)
    for number in range(100):
        file["videos/label"].id.write_direct_chunk((number * n_chunk,), packed)


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

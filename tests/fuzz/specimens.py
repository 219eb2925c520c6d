"""The caches that are mutated: small, with all that a cache can hold; one of each form."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from builders import small_recipe
from comix_fast.cache import CacheWriter
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.parts import Division, Part
from comix_fast.video import plan_clips

ARCHIVED = Path(__file__).parents[1] / "data" / "caches" / "form-1"
FORMS = ("form-1", "form-2")
DIM = 64
SIZE = 8
FRAMES = (72, 80)
FAILURE = {"id": "target/lost", "path": "lost.mp4", "reason": "no video stream"}


def make(form: str, root: Path) -> Path:
    """A cache of form-1, half of the archived one, or of form-2, written anew: with one shard a domain, to be quick."""
    if form == "form-1":
        shutil.copytree(ARCHIVED, root)
        for domain in ("source", "target"):
            first = min(path.name for path in (root / "shards").glob(f"{domain}-*"))
            for path in root.glob(f"*/{domain}-*"):
                if path.name != first:
                    path.unlink()
        return root
    names = {
        domain: [f"{domain}/wave/{number} ä{number}" for number in range(len(FRAMES))]
        for domain in ("source", "target")
    }
    with CacheWriter.open(root, small_recipe(mixes=1), ["a warning"], made_with={"comix-fast": "0"}) as cache:
        for domain, donors in (("source", names["target"]), ("target", names["source"])):
            write_shard(cache, domain, names[domain], donors)
        lists = {
            domain: {"name": f"{domain} domain", "train": [[video, n % 2] for n, video in enumerate(videos)]}
            for domain, videos in names.items()
        }
        lists["target"]["test"] = [[names["target"][0], None], [names["target"][1], 1], ["target/lost", 0]]  # type: ignore[list-item]
        cache.write_dataset({"name": "two", "classes": ["wave", "bow"], "notes": ["a note"], **lists})
        cache.write_failures([FAILURE])
    division = Division(2, 3, "0" * 64)
    for number, failures in ((1, [FAILURE]), (2, [])):
        with CacheWriter.open(root, small_recipe(mixes=1), part=Part(number, 2)) as part:
            part.finish_part(division, failures)
    return root


def write_shard(cache: CacheWriter, domain: str, names: list[str], donors: list[str]) -> None:
    """A domain's videos and their survey."""
    rng = np.random.default_rng(len(domain))
    rows = [VideoRow(name, n % 2, FRAMES[n], 25.0, f"{n}" * 64, 1000 + n) for n, name in enumerate(names)]
    with cache.shard(domain) as shard:
        for number, row in enumerate(rows):
            plan = plan_clips(row.n_frames)
            views = {"plain": drawn(rng, plan.starts)}
            mixed = drawn(rng, plan.test_starts)
            views["bgmix-0"] = ViewClips(mixed.features, mixed.starts, donors[number], 0.1 + number / 10)
            shard.add(row, views)
    cache.add_survey(domain, rows, [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in rows])


def drawn(rng: np.random.Generator, starts: list[int]) -> ViewClips:
    """Random features at some starts."""
    return ViewClips(rng.normal(size=(len(starts), DIM)).astype(np.float16), np.array(starts, dtype=np.int64))


def feature_spans(path: Path) -> list[tuple[int, int]]:
    """(first byte, last) of each array of features of an HDF5 file, in the order of the file."""
    found: list[tuple[int, int]] = []

    def look(name: str, element: h5py.HLObject) -> None:
        if name.endswith("/features") and element.id.get_offset() is not None:
            found.append((element.id.get_offset(), element.id.get_offset() + element.id.get_storage_size()))

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return sorted(found)

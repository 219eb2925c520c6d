"""Plain functions and types that tests share; fixtures are in conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from comix_fast.backbones import Backbone
from comix_fast.cache import CacheWriter
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.seal import read_seal, seal_of
from comix_fast.config import AdaptRecipe, ExtractRecipe, ViewPlan
from comix_fast.console import Advance, Silent
from comix_fast.stages.bank import Standardise
from comix_fast.stages.runs import LAST, RunFolder, save_tensors

MakeCache = Callable[..., Path]
WriteVideo = Callable[..., Path]


class Ended(NamedTuple):
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


def small_recipe(mixes: int = 2, **changes: object) -> ExtractRecipe:
    """A recipe of a backbone that is not there: caches of made-up features."""
    backbone = {"name": "made-up", "weights": "none", "weights_sha256": "0" * 64, "precision": "fp32"}
    fields = {"backbone": backbone, "decoder": {"name": "none", "version": "0"}, "views": ViewPlan((), mixes)}
    return ExtractRecipe(**(fields | changes))  # type: ignore[arg-type]


def listed(domain: str, n_classes: int, per_class: int, split: str = "") -> list[tuple[str, int]]:
    return [(f"{domain}/{split}{c}-{n}", c) for c in range(n_classes) for n in range(per_class)]


def noisy_clips(rng: np.random.Generator, centre: np.ndarray, noise: float, starts: Sequence[int]) -> ViewClips:
    features = centre + noise * rng.normal(size=(len(starts), len(centre)))
    return ViewClips(features.astype(np.float16), np.array(starts, dtype=np.int64))


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file of a cache, opened to be changed, and sealed anew afterwards: what a forger could do."""
    with path.open("rb") as file:
        seal = read_seal(file, str(path))
    content = path.read_bytes()
    path.write_bytes(content if seal is None else content[: seal.n_bytes])
    with h5py.File(path, "r+") as file:
        yield file
    if seal is not None:
        reseal(path)


def reseal(path: Path) -> None:
    """Ends a file of HDF5 with the seal of what it is now."""
    spans: list[tuple[int, int]] = []

    def look(name: str, element: h5py.HLObject) -> None:
        if name.endswith("/features") and element.id.get_offset() is not None:
            spans.append((element.id.get_offset(), element.id.get_storage_size()))

    with h5py.File(path, "r") as file:
        file.visititems(look)
    content = path.read_bytes()
    path.write_bytes(content + seal_of(content, spans).encoded())


def write_large(root: Path) -> None:
    """A cache of 24 MB of features: 24 videos of 4,096 clips, each in a shard of its own."""
    features = np.ones((4096, 128), np.float16)
    ids = [f"v{number}" for number in range(24)]
    with CacheWriter.open(root, small_recipe(0)) as cache:
        for video in ids:
            with cache.shard("source") as shard:
                shard.add(VideoRow(video, 0, 72, 25.0, "0" * 64, 1), {"plain": ViewClips(features, np.arange(4096))})
        domain = {"name": "d", "train": [[video, 0] for video in ids], "test": None}
        cache.write_dataset({"classes": ["one"], "notes": [], "source": domain, "target": {**domain, "train": []}})


class Interrupting(Silent):
    """A reporter that presses Ctrl-C after a number of advances."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        def advance(done: int) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

        yield advance


def write_run(root: Path, recipe: AdaptRecipe, backbone: Backbone, precision: str = "fp32") -> Path:
    """A run of three classes on a backbone of random weights, with a random last head of seed 0 and a made-up norm."""
    generator = torch.Generator().manual_seed(11)
    recorded = {**backbone.recipe(), "precision": precision}
    width = backbone.feature_dim * (len(recipe.statistics.split("+")) if recipe.pooled else 1)
    meta = {
        "cache_key": "0" * 64,
        "dataset": {},
        "recipe": recipe.to_json(),
        "classes": ["bow", "lâcher prise", "押す"],
        "in_dim": width,
        "features": small_recipe(backbone=recorded).to_json(),
    }
    run = RunFolder.make(root, meta)
    norms = [Standardise(torch.randn(width, generator=generator), torch.ones(width) * (2 + n)) for n in range(2)]
    run.save_norms(*norms)
    weights = {
        name: torch.randn(value.shape, generator=generator) * max(1, value.shape[0]) ** -0.5
        for name, value in run.new_head().state_dict().items()
    }
    save_tensors(run.seed(0).head_path(LAST), weights)
    return root


class Clock:
    """A clock that goes twenty seconds at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 20
        return self.now

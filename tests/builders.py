"""Plain functions and types that tests share; fixtures are in conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from comix_fast.cache.format import ViewClips
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Advance, Silent

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

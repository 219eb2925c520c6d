"""Mutants of caches: what breaks, and what may come of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import file_mutants
import hdf5_mutants
import json_mutants
from specimens import FORMS, feature_spans

REFUSED, SAME, UNNOTICED = "refused", "same", "unnoticed"
STRICT = frozenset({REFUSED, SAME})
FORGED = frozenset({REFUSED, SAME, UNNOTICED})


@dataclass
class Cache:
    """A cache that is mutated: its folder, and the content of each of its files as it was."""

    form: str
    root: Path
    files: dict[str, bytes]
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, form: str, root: Path) -> Cache:
        paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
        files = {str(path.relative_to(root)): path.read_bytes() for path in paths}
        return cls(form, root, files, {name: feature_spans(root / name) for name in files if name.endswith(".h5")})


@dataclass(frozen=True)
class Kind:
    """One way to break a cache. may: what may come of it. share: of all mutants."""

    name: str
    break_it: Callable[[Cache, random.Random], str]
    may: Callable[[Cache], frozenset[str]]
    share: float


def hashed_or_not(cache: Cache) -> frozenset[str]:
    """Form 1 has no checksums: a changed number in it is a number like any other."""
    return FORGED if cache.form == "form-1" else STRICT


def always(*outcomes: str) -> Callable[[Cache], frozenset[str]]:
    return lambda cache: frozenset(outcomes)


KINDS = (
    Kind("bytes", file_mutants.bytes_changed, hashed_or_not, 0.30),
    Kind("cuts and additions", file_mutants.length_changed, hashed_or_not, 0.08),
    Kind("structure, sealed anew", file_mutants.structure_resealed, always(*FORGED), 0.22),
    Kind("files swapped", file_mutants.swapped, always(*STRICT), 0.02),
    Kind("JSON, hashed anew", json_mutants.changed, always(*FORGED), 0.16),
    Kind("hostile JSON", json_mutants.hostile, always(REFUSED), 0.06),
    Kind("hostile HDF5", hdf5_mutants.hostile, always(REFUSED), 0.12),
    Kind("repacked HDF5", hdf5_mutants.repacked, always(SAME), 0.01),
    Kind("pipes, devices, links", file_mutants.no_plain_file, always(REFUSED), 0.03),
)


def drawn(number: int, seed: int) -> tuple[random.Random, Kind, str]:
    """What decides a mutant: its own chance, its kind, and the form of the cache."""
    rng = random.Random(f"{seed}/{number}")
    form = rng.choice(FORMS)
    (kind,) = rng.choices(KINDS, [kind.share for kind in KINDS])
    return rng, kind, form


def mutate(number: int, seed: int, caches: dict[str, Cache]) -> tuple[Kind, Cache, str]:
    """Breaks one of the caches; the same number and seed do the same. Gives what was done, in words."""
    rng, kind, form = drawn(number, seed)
    return kind, caches[form], kind.break_it(caches[form], rng)

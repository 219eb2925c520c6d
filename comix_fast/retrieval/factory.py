"""What a faiss factory string asks for, read and checked before faiss sees it.

faiss ends the whole process on some strings (HNSW1, PQ8x0), so only those are let through that are known to work:
any number of transforms (PCA64, PCAR64, OPQ16, OPQ16_64, RR64), then one of
  Flat, SQ4, SQ6, SQ8, SQfp16, SQbf16, PQ16, PQ16x4, PQ16x4fs   alone, or after IVF256 or IVF256_HNSW32
  HNSW32, HNSW32_SQ8, HNSW32_PQ16                               a graph
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from comix_fast.errors import ComixError

FLAT = "Flat"
PER_CENTROID = 39  # vectors for each centroid below which faiss calls a training set small
TYPES = "Flat, SQfp16, SQ8, PQ64, OPQ64,PQ64, IVF256,Flat, IVF256,PQ64, HNSW32"
LINKS = (2, 128)  # of a graph: faiss crashes on fewer, and more take gigabytes
BITS = (4, 12)  # of a PQ code
OPQ_CENTROIDS = 256  # OPQ learns with codes of 8 bits

_TRANSFORM = re.compile(r"(PCAR?|OPQ|RR)(\d{1,9})(?:_(\d{1,9}))?")
_LISTS = re.compile(r"IVF(\d{1,9})(?:_HNSW(\d{1,9}))?")
_GRAPH = re.compile(r"HNSW(\d{1,9})(?:_(Flat|SQ8|PQ\d{1,9}))?")
_CODES = re.compile(r"PQ(\d{1,9})(?:x(\d{1,9})(fs)?)?")
_SIMPLE = re.compile(r"Flat|SQ(?:4|6|8|fp16|bf16)")
_SETTING = re.compile(r"(nprobe|efSearch)=(\d{1,9})")


@dataclass(frozen=True)
class IndexChoice:
    """How to search. factory: a faiss factory string; "Flat" is exact.

    search: settings of the search, "nprobe=32" or "efSearch=128" or both with a comma; empty: defaults that grow with
    the index. seed: decides which queries recall is measured on.
    Raises ComixError for strings that no gallery could be searched with.
    """

    factory: str = FLAT
    search: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        plan, settings = parse(self.factory), self.settings()
        for name, there in (("nprobe", plan.lists > 0), ("efSearch", plan.links > 0)):
            if name in settings and not there:
                hint = "nprobe belongs to IVF…, efSearch to HNSW…"
                raise ComixError(f"--index-search {self.search!r}: {self.factory} has no {name}", hint=hint)

    @property
    def exact(self) -> bool:
        """Whether this is the exact search."""
        return self.factory == FLAT

    def settings(self) -> dict[str, int]:
        """The search settings asked for, by name."""
        found = {}
        for part in filter(None, self.search.split(",")):
            match = _SETTING.fullmatch(part.strip())
            if not match or int(match[2]) < 1:
                hint = "write nprobe=32, efSearch=128, or both with a comma"
                raise ComixError(f"--index-search {self.search!r}: {part!r} is no setting", hint=hint)
            found[match[1]] = int(match[2])
        return found


@dataclass(frozen=True)
class IndexReport:
    """What an index found, against the exact search.

    factory, settings: the index and how it was searched ("nprobe", "efSearch", "candidates").
    recall: share of the true k nearest that were found, mean over `sample` queries; 1.0, with a sample of 0, for Flat.
    completed: queries for which the index named fewer than k items, so that they were searched exactly instead.
    notes: what a user should know, a sentence each.
    build_seconds, search_seconds: wall-clock time, not compared.
    """

    factory: str
    settings: dict[str, int]
    k: int
    recall: float
    sample: int
    seed: int
    completed: int
    notes: tuple[str, ...] = ()
    build_seconds: float = field(default=0.0, compare=False)
    search_seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, object]:
        """All fields but the times, so that the same command writes the same file."""
        left_out = ("build_seconds", "search_seconds")
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**kept, "notes": list(self.notes)}


@dataclass(frozen=True)
class FactoryPlan:
    """A factory string, read. Numbers are 0 where the index has no such part.

    transforms: (name, first number, second number or 0), in order. lists: of IVF. links: of HNSW, a graph over the
    vectors or over the lists. code_parts, code_bits: of PQ.
    """

    transforms: tuple[tuple[str, int, int], ...]
    lists: int
    links: int
    code_parts: int
    code_bits: int

    def centroids(self) -> int:
        """The largest number of centroids that any part learns."""
        codes = 2**self.code_bits if self.code_parts else 0
        rotations = OPQ_CENTROIDS if any(name == "OPQ" for name, *_ in self.transforms) else 0
        return max(self.lists, codes, rotations)


def parse(factory: str) -> FactoryPlan:
    """Reads a factory string; raises ComixError for one that is unknown here or has an impossible number in it."""
    parts = factory.split(",")
    transforms = []
    while len(parts) > 1 and (match := _TRANSFORM.fullmatch(parts[0])):
        if match[3] and match[1] != "OPQ":
            raise _unknown(factory)
        transforms.append((match[1], int(match[2]), int(match[3] or 0)))
        parts.pop(0)
    lists = links = 0
    if len(parts) == 2 and (match := _LISTS.fullmatch(parts[0])):
        lists, links = int(match[1]), int(match[2] or 0)
        _within(factory, "the lists", lists, (1, 1 << 30))
        if match[2]:
            _within(factory, "the links an item", links, LINKS)
        parts.pop(0)
    elif match := _GRAPH.fullmatch("_".join(parts)):  # HNSW32,Flat is HNSW32_Flat
        links = int(match[1])
        _within(factory, "the links an item", links, LINKS)
        parts = [match[2] or FLAT]
    if len(parts) != 1:
        raise _unknown(factory)
    code_parts = code_bits = 0
    if match := _CODES.fullmatch(parts[0]):
        code_parts, code_bits = int(match[1]), int(match[2] or 8)
        _within(factory, "the sub-vectors", code_parts, (1, 1 << 30))
        _within(factory, "the bits a code", code_bits, (4, 4) if match[3] else BITS)
    elif not _SIMPLE.fullmatch(parts[0]):
        raise _unknown(factory)
    return FactoryPlan(tuple(transforms), lists, links, code_parts, code_bits)


def check_fit(factory: str, plan: FactoryPlan, items: int, dims: int) -> None:
    """Raises ComixError where the index can't be made of a gallery of so many items of so many numbers each."""
    for name, first, second in plan.transforms:
        # OPQ names its sub-vectors first, then how many numbers it leaves; the others only the latter.
        left = (second or dims) if name == "OPQ" else first
        most = min(dims, items) if name.startswith("PCA") else dims
        if not 1 <= left <= most:
            raise _unfit(factory, f"{name} can leave 1 to {most:,} numbers here, not {left:,}", f"{name} of fewer")
        dims = left
        if name == "OPQ":
            _divides(factory, name, first, dims)
    if plan.code_parts:
        _divides(factory, "PQ", plan.code_parts, dims)
    if plan.lists > items:
        what = f"it has {plan.lists:,} lists, the gallery only {items:,} items"
        raise _unfit(factory, what, f"about {max(1, items // PER_CENTROID):,} lists, or Flat")
    if plan.centroids() > items:
        what = f"its codes learn {plan.centroids():,} centroids, and the gallery has only {items:,} items to learn from"
        raise _unfit(factory, what, "SQfp16 or Flat, which learn none")


def _divides(factory: str, name: str, sub_vectors: int, dims: int) -> None:
    if sub_vectors < 1 or dims % sub_vectors:
        nearest = max(n for n in range(1, min(max(sub_vectors, 1), dims) + 1) if dims % n == 0)
        what = f"{name} can't cut vectors of {dims:,} numbers into {sub_vectors:,} equal sub-vectors"
        raise _unfit(factory, what, f"{name}{nearest}")


def _within(factory: str, what: str, number: int, bounds: tuple[int, int]) -> None:
    if not bounds[0] <= number <= bounds[1]:
        span = f"{bounds[0]} to {bounds[1]:,}" if bounds[0] < bounds[1] else f"{bounds[0]} only"
        raise ComixError(f"--index {factory!r}: {what} {number:,}, where it can be {span}")


def _unknown(factory: str) -> ComixError:
    hint = "transforms PCA64, PCAR64, RR64 and OPQ64 may come first, with a comma"
    return ComixError(f"--index {factory!r} is not known", [f"known are, with other numbers too: {TYPES}"], hint)


def _unfit(factory: str, what: str, instead: str) -> ComixError:
    return ComixError(f"--index {factory!r} does not suit this gallery: {what}", hint=f"try {instead}")

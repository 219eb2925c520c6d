"""Flat search against a bare call, what it costs as the gallery grows, and what other indexes find and cost.

    python -m benchmarks.retrieval

prints all of it; `make bench` takes measure(). Random vectors, seeded.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.measure import Ratio, paired, seconds
from benchmarks.plain.retrieval import faiss_flat, matmul_topk
from comix_fast.retrieval import Embeddings, IndexChoice, evaluate, l2_normalise, search
from comix_fast.retrieval.approximate import recall_against_flat, search_through

GALLERY, DIMS, QUERIES, K = 100_000, 1024, 1000, 10
TARGET = 1.2
INDEXES = ("SQfp16", "IVF256,Flat", "HNSW32")
CLUSTERS = 500
SPREAD = 1.0  # of a cluster, as a share of the distance between clusters


def vectors(rows: int, seed: int) -> np.ndarray:
    """[rows, DIMS] float32 of norm 1, in every direction."""
    return l2_normalise(np.random.default_rng(seed).standard_normal((rows, DIMS), dtype=np.float32))


def clustered(rows: int, seed: int) -> np.ndarray:
    """[rows, DIMS] float32 of norm 1, around CLUSTERS directions, the same ones for every seed."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIMS), dtype=np.float32)
    rng = np.random.default_rng(seed)
    noise = SPREAD * rng.standard_normal((rows, DIMS), dtype=np.float32)
    noise += centres[rng.integers(0, CLUSTERS, rows)]
    return l2_normalise(noise)


def measure(quick: bool) -> list[Ratio]:
    """Ours against the faster of the two bare calls."""
    rows = 20_000 if quick else GALLERY
    queries, gallery = vectors(QUERIES, 1), vectors(rows, 2)
    bare = (matmul_topk, faiss_flat)
    once = [seconds(lambda call=call: call(queries, gallery, K)) for call in bare]
    fastest = bare[int(np.argmin(once))]
    ours, plain, gain = paired(
        lambda: search(queries, gallery, K), lambda: fastest(queries, gallery, K), rounds=3 if quick else 7
    )
    name = f"retrieval, Flat {rows:,} x {DIMS}"
    note = f"{QUERIES:,} queries, k {K}; plain: {fastest.__name__} ({bare[1].__name__} took {once[1]:.2f} s)"
    return [Ratio(name, ours, plain, "s", 1 / gain, TARGET, at_least=False, note=note)]


def scaling() -> list[tuple[str, float]]:
    """Seconds of one search of 1,000 queries, and of scoring the whole ranking too, at three gallery sizes."""
    lines = []
    queries = vectors(QUERIES, 1)
    for rows in (25_000, 50_000, 100_000):
        gallery = vectors(rows, 2)
        times = [seconds(lambda gallery=gallery: search(queries, gallery, K)) for _ in range(3)]
        lines.append((f"search, gallery {rows:,}", statistics.median(times)))
        labels = np.random.default_rng(3).integers(0, 100, rows + QUERIES)
        asked = Embeddings(tuple(f"q{n}" for n in range(QUERIES)), queries, labels[:QUERIES])
        items = Embeddings(tuple(f"g{n}" for n in range(rows)), gallery, labels[QUERIES:])
        lines.append((f"search and scores, gallery {rows:,}", seconds(lambda a=asked, i=items: evaluate(a, i, K))))
    return lines


def indexes() -> list[str]:
    """What other indexes find among clustered vectors, and what they cost beside Flat."""
    queries, gallery = clustered(QUERIES, 1), clustered(GALLERY, 2)
    begun = time.perf_counter()
    search(queries, gallery, K)
    lines = [f"Flat: recall@{K} 100.0 %, built in 0 s, searched in {time.perf_counter() - begun:.2f} s"]
    for factory in INDEXES:
        found = search_through(IndexChoice(factory), queries, gallery, K)
        recall, sample = recall_against_flat(found.similarity, queries, gallery)
        lines.append(
            f"{factory}: recall@{K} {100 * recall:.1f} % of {sample:,} queries, built in {found.build_seconds:.1f} s, "
            f"searched in {found.search_seconds:.2f} s, {found.settings}, {found.completed} searched exactly"
        )
    return lines


def main() -> None:
    for ratio in measure(quick=False):
        print(f"{ratio.name}: {ratio.ours:.2f} {ratio.unit}, plain {ratio.plain:.2f}, ratio {ratio.ratio:.2f}")
        print(f"  {ratio.note}")
    for name, taken in scaling():
        print(f"{name}: {taken:.2f} s")
    for line in indexes():
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""Search through any faiss index: it proposes, and what it proposes is measured exactly.

So the similarities are true cosines in the order that the exact search gives; what an index may do is miss some
neighbours. How many is measured against the exact search, on a sample of the queries.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from comix_fast.errors import ComixError
from comix_fast.retrieval.factory import PER_CENTROID, FactoryPlan, IndexChoice, check_fit, parse
from comix_fast.retrieval.index import order, search
from comix_fast.retrieval.vectors import Float32s, Int64s, check_k, check_pair

CANDIDATES = 100  # asked of an index at least, four times k for a larger k: codes are coarse, measuring is cheap
LEAST_PROBES = 8
PROBED_SHARE = 16  # one list in so many is looked into
LEAST_EFFORT = 64  # efSearch of a graph
SAMPLE = 1000  # queries that recall is measured on
MOST_ON_GPU = 2048  # candidates that faiss gives on a GPU
QUERY_ROWS = 4096  # queries handed to faiss at a time


@dataclass(frozen=True, eq=False)
class Found:
    """What an index found. similarity: [Q, k] float32; index: [Q, k] gallery rows; the rest as in IndexReport."""

    similarity: Float32s
    index: Int64s
    settings: dict[str, int]
    completed: int
    build_seconds: float
    search_seconds: float
    notes: tuple[str, ...]


def search_through(
    choice: IndexChoice, queries: Float32s, gallery: Float32s, k: int, exclude: Int64s | None = None
) -> Found:
    """The k gallery rows most similar to each query among those that the index proposes.

    choice: which index; the rest, and what is returned and raised, as for `search`. A query for which the index
    names fewer than k rows is searched exactly. The same gallery and choice give the same neighbours: faiss learns
    from constant seeds, and graphs are grown by one thread.
    Raises ComixError too for an index that can't be made of this gallery.
    """
    exclude = check_pair(queries, gallery, exclude)
    check_k(k, len(gallery), exclude)
    begun = time.perf_counter()
    if choice.exact:
        similarity, index = search(queries, gallery, k, exclude)
        return Found(similarity, index, {}, 0, 0.0, time.perf_counter() - begun, ())
    plan = parse(choice.factory)
    check_fit(choice.factory, plan, *gallery.shape)
    wanted = min(len(gallery), max(CANDIDATES, 4 * k))
    built = _build(choice.factory, plan, gallery)
    settings = _tune(built, plan, choice.settings(), wanted)
    built = _on_gpus(built, plan, wanted)
    ready = time.perf_counter()
    similarity = np.empty((len(queries), k), np.float32)
    index = np.empty((len(queries), k), np.int64)
    completed = 0
    for start in range(0, len(queries), QUERY_ROWS):
        part = slice(start, start + QUERY_ROWS)
        rows: Int64s = built.search(np.ascontiguousarray(queries[part]), wanted)[1]
        near = (rows >= 0) & (rows != exclude[part, None])
        similarity[part], index[part] = order(queries[part], gallery, rows, near, k)
        few = start + np.flatnonzero(near.sum(axis=1) < k)
        if few.size:
            similarity[few], index[few] = search(queries[few], gallery, k, exclude[few])
            completed += few.size
    done = time.perf_counter()
    return Found(similarity, index, settings, completed, ready - begun, done - ready, _notes(plan, len(gallery)))


def recall_against_flat(
    similarity: Float32s, queries: Float32s, gallery: Float32s, exclude: Int64s | None = None, seed: int = 0
) -> tuple[float, int]:
    """Which share of each query's true k nearest was found: the mean over a sample of queries, and its size.

    similarity: [Q, k] float32, what was found, measured exactly; the rest as for `search`. The sample is drawn
    without repetition from seed; up to 1,000 queries are all of them. An item as similar as the true k-th counts as
    found, whichever of the equals it is. Without queries, (1.0, 0).
    """
    rows = np.arange(len(queries))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    if not len(rows):
        return 1.0, 0
    exact, _ = search(queries[rows], gallery, similarity.shape[1], None if exclude is None else exclude[rows])
    return float((similarity[rows] >= exact[:, -1:]).mean()), len(rows)


def _build(factory: str, plan: FactoryPlan, gallery: Float32s) -> Any:
    """The index, trained on the gallery and holding it."""
    faiss = load_faiss()
    with _threads(faiss, 1 if plan.links else 0):  # where threads grow a graph, their race shapes it
        try:
            built = faiss.index_factory(gallery.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            kept = _prepare(faiss, built)
            vectors = np.ascontiguousarray(gallery)
            built.train(vectors)
            built.add(vectors)
            del kept
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ComixError(f"--index {factory!r}: faiss can't make it of this gallery", [reason]) from error
    return built


def _prepare(faiss: ModuleType, built: Any) -> list[Any]:
    """Keeps faiss from warning of small training sets on stderr, _notes says so in the table; and from sorting the
    codes of PQ for a filter that is not used here, which takes most of their training.

    Returns what must stay alive until training is over.
    """
    kept = []
    index = faiss.downcast_index(built)
    if isinstance(index, faiss.IndexPreTransform):
        for place in range(index.chain.size()):
            transform = faiss.downcast_VectorTransform(index.chain.at(place))
            if isinstance(transform, faiss.OPQMatrix):
                codes = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                codes.cp.min_points_per_centroid = 1
                transform.pq = codes
                kept.append(codes)
        index = faiss.downcast_index(index.index)
    if isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    if isinstance(index, faiss.IndexIVF):
        index.cp.min_points_per_centroid = 1
    if hasattr(index, "pq"):
        index.pq.cp.min_points_per_centroid = 1
    if hasattr(index, "do_polysemous_training"):
        index.do_polysemous_training = False
    return kept


def _tune(built: Any, plan: FactoryPlan, asked: dict[str, int], wanted: int) -> dict[str, int]:
    """Sets how hard the index searches; returns the settings that it now has."""
    faiss = load_faiss()
    settings = {"candidates": wanted}
    index = faiss.downcast_index(built)
    if isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    graph = index
    if plan.lists:
        probes = asked.get("nprobe", max(LEAST_PROBES, -(-plan.lists // PROBED_SHARE)))
        settings["nprobe"] = index.nprobe = min(plan.lists, probes)
        graph = faiss.downcast_index(index.quantizer)
    if plan.links:
        least = settings.get("nprobe", wanted)
        settings["efSearch"] = graph.hnsw.efSearch = asked.get("efSearch", max(LEAST_EFFORT, least))
    return settings


def _on_gpus(built: Any, plan: FactoryPlan, wanted: int) -> Any:
    """Lists on the GPUs where faiss was built for them and finds any (the extra `gpu`); else the index as it is."""
    faiss = load_faiss()
    if not plan.lists or plan.links or wanted > MOST_ON_GPU or not getattr(faiss, "get_num_gpus", int)():
        return built
    try:
        return faiss.index_cpu_to_all_gpus(built)
    except RuntimeError:  # a kind of codes that faiss has for CPUs alone
        return built


def _notes(plan: FactoryPlan, items: int) -> tuple[str, ...]:
    needed = plan.centroids()
    if items >= PER_CENTROID * needed:
        return ()
    advised = PER_CENTROID * needed
    return (f"the index learned {needed:,} centroids from {items:,} items; {advised:,} items or more are advisable",)


@contextmanager
def _threads(faiss: ModuleType, number: int) -> Iterator[None]:
    """So many threads for faiss in this block; 0 leaves them as they are."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def load_faiss() -> ModuleType:
    """faiss, imported when first needed, past two warnings that its import raises and nobody can act on."""
    with warnings.catch_warnings():
        # faiss < 1.14.2 on Python 3.12 and later (SWIG's types, facebookresearch/faiss issue 4481)
        warnings.filterwarnings("ignore", "builtin type swig", DeprecationWarning)
        # faiss 1.9 with numpy 2 (its loader reads the processor's features at their old address)
        warnings.filterwarnings("ignore", r"numpy\.core\._multiarray_umath", DeprecationWarning)
        import faiss
    module: ModuleType = faiss
    return module

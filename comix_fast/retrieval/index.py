"""Nearest neighbours by cosine similarity: exact, in one stated order, never with an id of -1.

Vectors are normalised once; their inner product is then the cosine. faiss's flat index proposes the
candidates. Its float32 products differ in their last bits with the batch and the processor, so the candidates
are measured again in float64 and only then ordered: by similarity, from the highest, and among equal
similarities the lower gallery row first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comix_fast.errors import ComixError, ShapeError, first_few

Floats = NDArray[np.floating[Any]]
Float32s = NDArray[np.float32]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

MEMORY = 128 << 20  # bytes that one chunk of queries may take, roughly
RANKING_BYTES = 48  # what one (query, gallery item) pair takes while it is ranked and average_precision runs
SPARE = 16  # candidates asked of faiss beyond k, so that the order at the cut can be settled in float64
GALLERY_BLOCK = 4096  # gallery rows turned to float64 at a time


def l2_normalise(vectors: Floats, ids: Sequence[str] | None = None) -> Float32s:
    """Each row divided by its Euclidean norm.

    vectors: [N, D] of any real type and scale. ids: N names for the rows, used in errors only.
    Returns [N, D] float32, rows of norm 1 within rounding.
    Raises ShapeError for anything but real [N, D] with D of at least 1, or ids that do not match; ComixError
    for rows that hold NaN or infinity, or are zero all over (they have no direction), with count and names.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind not in "fiu":
        got = f"{list(vectors.shape)} {vectors.dtype}"
        raise ShapeError(f"vectors must be [N, D] real numbers with D at least 1, got {got}")
    if ids is not None and len(ids) != len(vectors):
        raise ShapeError(f"{len(ids):,} ids for {len(vectors):,} vectors")
    unit = np.empty(vectors.shape, np.float32)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    _refuse_rows(broken, len(vectors), "hold NaN or infinity", ids)
    zero = np.flatnonzero(~vectors.any(axis=1))
    _refuse_rows(zero, len(vectors), "are zero all over, so have no direction", ids)
    for start in range(0, len(vectors), GALLERY_BLOCK):
        block = vectors[start : start + GALLERY_BLOCK].astype(np.float64)
        # first by the largest entry, so that squares of very large and small numbers stay finite
        block /= np.abs(block).max(axis=1, keepdims=True)
        unit[start : start + GALLERY_BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return unit


def search(queries: Float32s, gallery: Float32s, k: int, exclude: Int64s | None = None) -> tuple[Float32s, Int64s]:
    """The k gallery rows most similar to each query, by cosine, exactly.

    queries: [Q, D], gallery: [N, D] float32 with rows of norm 1, as l2_normalise returns them.
    exclude: [Q], for each query a gallery row to leave out (its own, when both are the same set), or -1.
    Returns similarity [Q, k] float32, falling, and gallery rows [Q, k] int64, all of them >= 0; among equal
    similarities the lower row comes first.
    Raises ComixError for k < 1, an empty gallery or fewer than k rows to choose from; ShapeError for shapes
    that do not fit and rows whose norm is not 1 (NaN among them).
    """
    exclude = check_pair(queries, gallery, exclude)
    eligible = len(gallery) - int((exclude >= 0).any())
    _refuse_k(k, eligible, len(gallery))
    wanted = min(len(gallery), k + SPARE)
    if wanted == len(gallery):
        return _by_full_order(queries, gallery, k, exclude)
    flat = _flat_index(gallery.shape[1])
    flat.add(np.ascontiguousarray(gallery))
    similarity = np.empty((len(queries), k), np.float32)
    index = np.empty((len(queries), k), np.int64)
    rows = max(1, MEMORY // (wanted * gallery.shape[1] * 8))
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        rough, candidates = flat.search(np.ascontiguousarray(queries[part]), wanted)
        if candidates.min() < 0:
            raise AssertionError("faiss returned no neighbour for a finite query against a full index")
        settled = _settled(rough, candidates, exclude[part], k, gallery.shape[1])
        similarity[part], index[part] = _order(queries[part], gallery, candidates, exclude[part], k)
        open_rows = start + np.flatnonzero(~settled)
        if open_rows.size:  # many rows about as near as the k-th: only the whole gallery decides
            redone = _by_full_order(queries[open_rows], gallery, k, exclude[open_rows])
            similarity[open_rows], index[open_rows] = redone
    return similarity, index


def rankings(
    queries: Float32s, gallery: Float32s, exclude: Int64s | None = None, *, chunk: int | None = None
) -> Iterator[tuple[slice, Float32s, Int64s]]:
    """The whole gallery in order of similarity, for a chunk of queries at a time.

    Arguments as for search. chunk: queries per step; None takes as many as fit in about 128 MiB.
    Yields (which queries, similarity [c, N] float32, gallery rows [c, N] int64), ordered as by search. A row
    left out comes last, with similarity -inf.
    Raises as search does.
    """
    exclude = check_pair(queries, gallery, exclude)
    rows = chunk or max(1, MEMORY // (len(gallery) * RANKING_BYTES))
    for start in range(0, len(queries), rows):
        part = slice(start, min(start + rows, len(queries)))
        similarity = _similarity(queries[part], gallery)
        own = exclude[part]
        similarity[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        order = _falling(similarity)
        yield part, np.take_along_axis(similarity, order, axis=1), order


def check_pair(queries: Float32s, gallery: Float32s, exclude: Int64s | None) -> Int64s:
    """Refuses what can't be searched; returns exclude as [Q] int64, -1 where nothing is left out."""
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        shapes = f"{list(queries.shape)} and {list(gallery.shape)}"
        raise ShapeError(f"queries and gallery must be [Q, D] and [N, D] of one D, got {shapes}")
    if len(gallery) == 0:
        raise ComixError("the gallery is empty: there is nothing to search", hint="choose another gallery")
    for name, vectors in (("queries", queries), ("gallery", gallery)):
        if vectors.dtype != np.float32:
            raise ShapeError(f"{name} must be float32, got {vectors.dtype}", hint="pass them through l2_normalise")
        squares = np.einsum("nd,nd->n", vectors, vectors)
        wrong = int((~(np.abs(squares - 1) < 1e-3)).sum())  # written so that NaN counts as wrong
        if wrong:
            message = f"{wrong:,} of {len(vectors):,} {name} are not of norm 1"
            raise ShapeError(message, hint="pass them through l2_normalise")
    if exclude is None:
        return np.full(len(queries), -1, np.int64)
    exclude = np.asarray(exclude, np.int64)
    if exclude.shape != (len(queries),):
        raise ShapeError(f"exclude must be [{len(queries)}], a row for each query, got {list(exclude.shape)}")
    if ((exclude < -1) | (exclude >= len(gallery))).any():
        raise ShapeError(f"exclude names rows outside the gallery of {len(gallery):,}")
    return exclude


def _refuse_rows(rows: NDArray[np.intp], total: int, what: str, ids: Sequence[str] | None) -> None:
    if rows.size == 0:
        return
    names = [f"row {row}" if ids is None else f"{ids[int(row)]} (row {row})" for row in rows]
    raise ComixError(
        f"{len(rows):,} of {total:,} vectors {what}",
        [first_few(names)],
        "no similarity can be computed for them: leave these out, or extract or train again",
    )


def _refuse_k(k: int, eligible: int, gallery: int) -> None:
    if k < 1:
        raise ComixError(f"k = {k}: at least one neighbour must be asked for", hint="choose k of 1 or more")
    if k > eligible:
        without = "" if eligible == gallery else " without the query itself"
        hint = f"choose k of at most {eligible}" if eligible else "choose a larger gallery"
        raise ComixError(f"k = {k}, but the gallery has only {eligible:,} items{without}", hint=hint)


def _flat_index(dims: int) -> Any:
    """An exact inner-product index; on the GPUs where faiss was built for them and finds any."""
    faiss = _faiss()
    flat = faiss.IndexFlatIP(dims)
    return faiss.index_cpu_to_all_gpus(flat) if getattr(faiss, "get_num_gpus", int)() else flat


def _faiss() -> ModuleType:
    """faiss, imported when first needed, past two warnings that its import raises and nobody can act on."""
    with warnings.catch_warnings():
        # faiss < 1.14.2 on Python 3.12 and later (SWIG's types, facebookresearch/faiss issue 4481)
        warnings.filterwarnings("ignore", "builtin type swig", DeprecationWarning)
        # faiss 1.9 with numpy 2 (its loader reads the processor's features at their old address)
        warnings.filterwarnings("ignore", r"numpy\.core\._multiarray_umath", DeprecationWarning)
        import faiss
    module: ModuleType = faiss
    return module


def _settled(rough: Float32s, candidates: Int64s, exclude: Int64s, k: int, dims: int) -> Bools:
    """[Q]: whether no row outside the candidates can belong among the first k."""
    # Summed in any order, a float32 inner product of unit vectors is off by at most D · 2⁻²⁴ (Higham 2002,
    # §3.1); the k-th candidate and an outsider may both be, towards each other.
    margin = (dims + 8) * np.finfo(np.float32).eps
    kept = np.where(candidates == exclude[:, None], -np.inf, rough)
    kth = -np.partition(-kept, k - 1, axis=1)[:, k - 1]
    settled: Bools = rough[:, -1] < kth - margin
    return settled


def _order(
    queries: Float32s, gallery: Float32s, candidates: Int64s, exclude: Int64s, k: int
) -> tuple[Float32s, Int64s]:
    """The candidates measured in float64 and put in order, the first k of each."""
    near = gallery[candidates].astype(np.float64)
    similarity = np.einsum("qd,qkd->qk", queries.astype(np.float64), near).astype(np.float32)
    similarity[candidates == exclude[:, None]] = -np.inf
    order = np.lexsort((candidates, -similarity), axis=1)[:, :k]
    return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(candidates, order, axis=1)


def _by_full_order(queries: Float32s, gallery: Float32s, k: int, exclude: Int64s) -> tuple[Float32s, Int64s]:
    similarity = np.empty((len(queries), k), np.float32)
    index = np.empty((len(queries), k), np.int64)
    for part, all_similarity, order in rankings(queries, gallery, exclude):
        similarity[part], index[part] = all_similarity[:, :k], order[:, :k]
    return similarity, index


def _falling(similarity: Float32s) -> Int64s:
    """[Q, N] places from the highest similarity to the lowest, the lower place first among equals."""
    # One whole number a pair, similarity in its upper half and place in its lower: their sort meets no ties
    # and is three times as fast as a stable argsort of floats. The bits of floats from 0 up sort as whole
    # numbers do, those below 0 the other way round; "0 -" rather than "-" keeps zeros from being negative.
    bits = (np.float32(0) - similarity).view(np.int32)
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    keys = (rising << 32) | np.arange(similarity.shape[1])
    keys.sort(axis=1)
    return keys & 0xFFFFFFFF


def _similarity(queries: Float32s, gallery: Float32s) -> Float32s:
    """[Q, N] cosines, summed in float64 and then rounded, so that equal vectors have equal similarity."""
    similarity = np.empty((len(queries), len(gallery)), np.float32)
    wide = queries.astype(np.float64)
    for start in range(0, len(gallery), GALLERY_BLOCK):
        block = gallery[start : start + GALLERY_BLOCK].astype(np.float64)
        similarity[:, start : start + GALLERY_BLOCK] = wide @ block.T
    return similarity

"""Nearest neighbours by cosine similarity: exact, in one stated order, never with an id of -1.

Vectors are normalised once; their inner product is then the cosine. Float32 products propose the candidates. They
differ in their last bits with the batch and the processor, so the candidates are measured again in float64 and only
then ordered: by similarity, from the highest, and among equal similarities the lower gallery row first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from comix_fast.retrieval.candidates import Candidates, candidates
from comix_fast.retrieval.vectors import Bools, Float32s, Int64s, check_k, check_pair

MEMORY = 128 << 20  # bytes that one chunk of queries may take, roughly
RANKING_BYTES = 48  # what one (query, gallery item) pair takes while it is ranked
SPARE = 16  # candidates beyond k, so that the order at the cut can be settled in float64
GALLERY_BLOCK = 4096  # gallery rows turned to float64 at a time
PAIRS = 512  # (query, candidate) pairs measured in float64 at a time
RANKED_PAIRS = 1 << 17  # (query, gallery item) pairs sorted at a time: they stay in the processor's cache


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
    check_k(k, len(gallery), exclude)
    wanted = min(len(gallery), k + SPARE)
    if wanted == len(gallery):
        return _by_full_order(queries, gallery, k, exclude)
    similarity = np.empty((len(queries), k), np.float32)
    index = np.empty((len(queries), k), np.int64)
    for found in candidates(queries, gallery, wanted):
        asked, own = queries[found.part], exclude[found.part]
        settled, near = _settled(found, own, k)
        similarity[found.part], index[found.part] = order(asked, gallery, found.rows, near, k)
        open_rows = found.part.start + np.flatnonzero(~settled)
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
    for part, similarity in _similarities(queries, gallery, exclude, rows):
        places = _falling(similarity)
        yield part, np.take_along_axis(similarity, places, axis=1), places


def ranked_relevance(
    queries: Float32s,
    query_labels: Int64s,
    gallery: Float32s,
    gallery_labels: Int64s,
    exclude: Int64s | None = None,
    *,
    chunk: int | None = None,
) -> Iterator[tuple[slice, Bools]]:
    """Which places of each query's ranking hold an item of its label: what rankings gives, but labels alone.

    queries, gallery, exclude: as for search. query_labels: [Q], gallery_labels: [N] class numbers.
    chunk: queries per step; None takes a number that suits the processor's cache.
    Yields (which queries, relevant [c, N] bool, nearest first); a row left out is not relevant to anyone.
    Raises as search does.
    """
    exclude = check_pair(queries, gallery, exclude)
    rows = chunk or max(1, RANKED_PAIRS // len(gallery))
    for part, similarity in _similarities(queries, gallery, exclude, rows):
        relevant = (gallery_labels == query_labels[part, None]) & np.isfinite(similarity)
        yield part, (_sort_keys(similarity, relevant) & 1).astype(np.bool_)


def order(queries: Float32s, gallery: Float32s, rows: Int64s, near: Bools, k: int) -> tuple[Float32s, Int64s]:
    """Candidates measured in float64 and put in order, the first k of each query.

    queries: [Q, D], gallery: [N, D]; rows: [Q, c] gallery rows; near: [Q, c], which of them may be chosen.
    Returns similarity [Q, k] float32 and gallery rows [Q, k]; a query with fewer than k such candidates gets
    others behind them, with similarity -inf.
    """
    similarity = np.full(rows.shape, -np.inf, np.float32)
    asked, place = np.nonzero(near)
    for start in range(0, len(asked), PAIRS):
        part = slice(start, start + PAIRS)
        ours = queries[asked[part]].astype(np.float64)
        theirs = gallery[rows[asked[part], place[part]]].astype(np.float64)
        similarity[asked[part], place[part]] = np.einsum("pd,pd->p", ours, theirs)
    best = np.lexsort((rows, -similarity), axis=1)[:, :k]
    return np.take_along_axis(similarity, best, axis=1), np.take_along_axis(rows, best, axis=1)


def _settled(found: Candidates, exclude: Int64s, k: int) -> tuple[Bools, Bools]:
    """[c]: whether no row outside the candidates can belong among the first k; [c, wanted]: which ones can."""
    # Both the k-th candidate and another row may be off, towards each other.
    margin = np.float32(2 * found.error)
    others = found.rows != exclude[:, None]
    # The products fall, so the k-th is in place k - 1, or in place k where the row left out comes before it.
    before = ~others[:, :k].all(axis=1)
    kth = found.products[np.arange(len(before)), k - 1 + before]
    settled: Bools = found.products[:, -1] < kth - margin
    return settled, others & (found.products >= (kth - margin)[:, None])


def _by_full_order(queries: Float32s, gallery: Float32s, k: int, exclude: Int64s) -> tuple[Float32s, Int64s]:
    similarity = np.empty((len(queries), k), np.float32)
    index = np.empty((len(queries), k), np.int64)
    for part, all_similarity, places in rankings(queries, gallery, exclude):
        similarity[part], index[part] = all_similarity[:, :k], places[:, :k]
    return similarity, index


def _similarities(queries: Float32s, gallery: Float32s, exclude: Int64s, rows: int) -> Iterator[tuple[slice, Float32s]]:
    """Cosines of `rows` queries at a time with the whole gallery, [c, N] float32; -inf for a row left out.

    Summed in float64 and then rounded, so that equal vectors have equal similarity.
    """
    # Turning the gallery to float64 costs as much as multiplying it by a hundred queries, so many share it; their
    # products may take a quarter of what the gallery itself does.
    many = max(1, max(MEMORY, gallery.nbytes // 4) // (len(gallery) * 4))
    for start in range(0, len(queries), many):
        wide = queries[start : start + many].astype(np.float64)
        similarity = np.empty((len(wide), len(gallery)), np.float32)
        for first in range(0, len(gallery), GALLERY_BLOCK):
            block = gallery[first : first + GALLERY_BLOCK].astype(np.float64)
            similarity[:, first : first + GALLERY_BLOCK] = wide @ block.T
        own = exclude[start : start + many]
        similarity[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        for first in range(0, len(wide), rows):
            last = min(first + rows, len(wide))
            yield slice(start + first, start + last), similarity[first:last]


def _falling(similarity: Float32s) -> Int64s:
    """[Q, N] places from the highest similarity to the lowest, the lower place first among equals."""
    return (_sort_keys(similarity) >> 1) & 0x7FFFFFFF


def _sort_keys(similarity: Float32s, marked: Bools | None = None) -> Int64s:
    """[Q, N] keys in the order of _falling: bit 0 says whether the pair is marked, bits 1 to 31 its place."""
    # One whole number a pair, similarity in its upper half and place below: their sort meets no ties and is three
    # times as fast as a stable argsort of floats. The bits of floats from 0 up sort as whole numbers do, those
    # below 0 the other way round; "0 -" rather than "-" keeps zeros from being negative.
    bits = (np.float32(0) - similarity).view(np.int32)
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    keys = bits.astype(np.int64)
    keys <<= 32
    keys |= np.arange(0, 2 * similarity.shape[1], 2)
    if marked is not None:
        keys |= marked
    keys.sort(axis=1)
    return keys

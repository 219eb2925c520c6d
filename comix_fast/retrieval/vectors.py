"""Vectors fit to be searched: their types, their norm, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comix_fast.errors import ComixError, ShapeError, first_few

Floats = NDArray[np.floating[Any]]
Float32s = NDArray[np.float32]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

NORM_BLOCK = 128  # rows normalised at a time: in float64 they stay in the processor's cache


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
    largest = np.empty((len(vectors), 1))
    # One pass for everything: rows that turn out to be broken are divided too, and refused afterwards.
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, len(vectors), NORM_BLOCK):
            part = slice(start, start + NORM_BLOCK)
            block = vectors[part].astype(np.float64)
            np.maximum(block.max(axis=1, keepdims=True), -block.min(axis=1, keepdims=True), out=largest[part])
            # first by the largest entry, so that squares of very large and small numbers stay finite
            block /= largest[part]
            unit[part] = block / np.sqrt(np.einsum("nd,nd->n", block, block))[:, None]
    broken = np.flatnonzero(~np.isfinite(largest))
    _refuse_rows(broken, len(vectors), "hold NaN or infinity", ids)
    _refuse_rows(np.flatnonzero(largest == 0), len(vectors), "are zero all over, so have no direction", ids)
    return unit


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


def check_k(k: int, gallery: int, exclude: Int64s) -> None:
    """Refuses k below 1, or above what every query has to choose from. gallery: how many items; exclude: [Q]."""
    eligible = gallery - int((exclude >= 0).any())
    if k < 1:
        raise ComixError(f"k = {k}: at least one neighbour must be asked for", hint="choose k of 1 or more")
    if k > eligible:
        without = "" if eligible == gallery else " without the query itself"
        hint = f"choose k of at most {eligible}" if eligible else "choose a larger gallery"
        raise ComixError(f"k = {k}, but the gallery has only {eligible:,} items{without}", hint=hint)


def _refuse_rows(rows: NDArray[np.intp], total: int, what: str, ids: Sequence[str] | None) -> None:
    if rows.size == 0:
        return
    names = [f"row {row}" if ids is None else f"{ids[int(row)]} (row {row})" for row in rows]
    raise ComixError(
        f"{len(rows):,} of {total:,} vectors {what}",
        [first_few(names)],
        "no similarity can be computed for them: leave these out, or extract or train again",
    )

"""Embeddings laid out on a plane: principal components, then t-SNE, the same on every number of cores."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from comix_fast.console import Advance
from comix_fast.errors import ShapeError
from comix_fast.retrieval.vectors import Floats

COMPONENTS = 50
PERPLEXITY = 30.0
FEWEST = 5
"""Videos from which on t-SNE has anything to say."""
SIDE = 1000
"""A map's coordinates are whole numbers from 0 to this."""

_KEPT_DIGITS = 5
"""Decimals of components whose largest has a standard deviation of 1: the last bits, which differ with the processor,
would otherwise grow into another map."""
_ROUNDING = 1e-6
_INITIAL, _JITTER = 1e-4, 1e-2
_LOOK_UP_SECONDS = 0.2
Points = NDArray[np.float64]
_Made = queue.SimpleQueue[tuple[int, Points | BaseException]]


def perplexity_of(n_videos: int) -> float:
    """30, or what so many videos allow: a third of the others (as van der Maaten 2014 bounds it)."""
    return min(PERPLEXITY, (n_videos - 1) / 3)


def method_text(n_videos: int, dim: int, seed: int) -> str:
    """How a map was made, in a few words. dim: of the widest embeddings."""
    if n_videos < FEWEST:
        return "the first two principal components: too few videos for t-SNE"
    reduced = f"PCA to {COMPONENTS} dimensions" if dim > COMPONENTS else "principal components"
    return f"t-SNE of {reduced} of vectors of length 1, perplexity {perplexity_of(n_videos):.3g}, seed {seed}"


def lay_out(vectors: Floats, seed: int) -> Points:
    """[N, D] real, N ≥ 1 -> [N, 2]: t-SNE (van der Maaten and Hinton 2008; Barnes–Hut, 2014) of principal components.

    It begins with the first two components, scaled to 1e-4 as scikit-learn's init="pca" scales them. Each row is moved
    by a hundredth of that, drawn by the seed: all else follows from the rows, and another seed shows what of a map is
    chance. Fewer than FEWEST rows give the components themselves, rows that are all the same give one point. The same
    rows and seed give the same points, whatever the number of threads.
    """
    components = principal(vectors)
    if len(vectors) < FEWEST or not components.any():
        return components[:, :2].astype(np.float64)
    # Imported here: it takes a second, and a page may have no map.
    from sklearn.manifold import TSNE

    drawn = np.random.default_rng(seed).standard_normal((len(vectors), 2))
    tsne = TSNE(
        n_components=2,
        perplexity=perplexity_of(len(vectors)),
        init=(_INITIAL * (components[:, :2] + _JITTER * drawn)).astype(np.float32),
        random_state=seed,
    )
    # Sums over threads are added up in another order with another number of them.
    with threadpool_limits(1, user_api="openmp"):
        points: Points = tsne.fit_transform(components.astype(np.float32)).astype(np.float64)
    return points


def lay_out_all(spaces: Sequence[Floats], seed: int, threads: int, advance: Advance) -> list[Points]:
    """lay_out of several embeddings, at once on some threads, which an interruption does not wait for.

    advance: called with 1 as each is done. Raises what the first of them to fail raises.
    """
    made: _Made = queue.SimpleQueue()
    waiting = deque(enumerate(spaces))
    found: dict[int, Points] = {}
    # BLAS has one number of threads for the whole process: set here, not by each worker.
    with threadpool_limits(1):
        try:
            for _ in range(min(max(1, threads), len(spaces))):
                # Daemons, which no executor has: nobody waits for a layout that was interrupted, nor does the
                # interpreter as it ends.
                threading.Thread(target=_lay_out_waiting, args=(waiting, seed, made), daemon=True).start()
            while len(found) < len(spaces):
                place, points = _next(made)
                if isinstance(points, BaseException):
                    raise points
                found[place] = points
                advance(1)
        finally:
            waiting.clear()
    return [found[place] for place in range(len(spaces))]


def _next(made: _Made) -> tuple[int, Points | BaseException]:
    """What is made next. It looks up now and then: a signal on the way into a wait without end would end none."""
    while True:
        with contextlib.suppress(queue.Empty):
            return made.get(timeout=_LOOK_UP_SECONDS)


def _lay_out_waiting(waiting: deque[tuple[int, Floats]], seed: int, made: _Made) -> None:
    """One worker: lays out what waits until nothing does; an error is the caller's to raise."""
    while True:
        try:
            place, vectors = waiting.popleft()
        except IndexError:
            return
        try:
            made.put((place, lay_out(vectors, seed)))
        except BaseException as error:
            made.put((place, error))
            return


def principal(vectors: Floats) -> Points:
    """[N, D] -> [N, max(2, min(50, D, N))]: principal components, the first of standard deviation 1, rounded.

    Columns that the data do not have are zeros; so is all of it where the rows are the same.
    """
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise ShapeError(f"a layout takes [N, D] vectors, N and D at least 1, got {list(vectors.shape)}")
    from sklearn.decomposition import PCA

    n, dim = vectors.shape
    components = np.zeros((n, max(2, min(COMPONENTS, n, dim))))
    centred = vectors.astype(np.float64)
    largest = float(np.abs(centred).max())
    centred -= centred.mean(axis=0)
    # What rounding leaves of rows that are equal is no direction.
    if float(np.abs(centred).max()) > _ROUNDING * largest:
        pca = PCA(min(COMPONENTS, n, dim), svd_solver="covariance_eigh" if dim <= n else "full")
        found = pca.fit_transform(centred)
        components[:, : found.shape[1]] = np.round(found / found[:, 0].std(), _KEPT_DIGITS)
    return components


def turned(points: Points, like: Points) -> Points:
    """Points [N, 2] turned and perhaps mirrored about their middle, to lie as near to `like` [N, 2] as they can.

    A t-SNE map has no direction of its own: neither changes a distance. Solves the orthogonal Procrustes problem
    (Schönemann 1966).
    """
    centred = points - points.mean(axis=0)
    left, _, right = np.linalg.svd(centred.T @ (like - like.mean(axis=0)))
    moved: Points = centred @ (left @ right)
    return moved


def on_grid(points: Points) -> dict[str, list[int]]:
    """x and y as whole numbers from 0 to SIDE: the longer side fills it, the shorter is in the middle, aspect kept."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    placed = np.rint((points - (low + high) / 2) / span * SIDE + SIDE / 2).astype(int)
    columns: Any = placed.T.tolist()
    return {"x": columns[0], "y": columns[1]}

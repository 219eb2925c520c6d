"""Galleries of any size, made up: retrieved neighbours as a seed draws them, and pictures of coloured squares."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from comix_fast.pictures import Picture, Pictures
from comix_fast.report.gallery import gallery_page, with_pictures
from comix_fast.report.gallery_values import gallery_values
from comix_fast.report.page import write
from comix_fast.retrieval import IndexReport, Neighbour, QueryNeighbours, RetrievalResult, knn_accuracy
from comix_fast.stages.retrieve import Retrieved

HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = ("hug", "kick", "point", "punch", "push", "handshake")
SPACES = {"backbone": 0.45, "source-only": 0.6, "last": 0.8, "selected": 0.75}
"""How likely a neighbour is of the query's class, space by space."""


def retrieved_of(
    n_queries: int = 60,
    k: int = 5,
    *,
    seed: int = 0,
    spaces: Mapping[str, float] = SPACES,
    classes: Sequence[str] = CLASSES,
    unlabelled: float = 0.0,
    names: tuple[str, str] = ("set1", "set2"),
    prefix: str = "",
) -> Retrieved:
    """Target queries with source neighbours as if a search had found them. unlabelled: which share has no label."""
    rng = np.random.default_rng(seed)
    items = [(f"{prefix}{names[0]}/{number}", number % len(classes)) for number in range(max(n_queries, 2 * k))]
    asked = [(f"{prefix}{names[1]}/{number}", number % len(classes)) for number in range(n_queries)]
    items, asked = (_forgetful(rng, videos, unlabelled) for videos in (items, asked))
    results = {space: _result(rng, asked, items, k, likely, len(classes)) for space, likely in spaces.items()}
    domains = dict(zip(("source", "target"), names, strict=True))
    return Retrieved("target", "source", domains, tuple(classes), results, Path("retrieval.json"), True)


def _forgetful(rng: np.random.Generator, videos: Sequence[tuple[str, int]], share: float) -> list[tuple[str, int]]:
    return [(video, -1 if rng.random() < share else label) for video, label in videos]


def _result(
    rng: np.random.Generator,
    asked: Sequence[tuple[str, int]],
    items: Sequence[tuple[str, int]],
    k: int,
    likely: float,
    n_classes: int,
) -> RetrievalResult:
    queries = []
    for number, (video, label) in enumerate(asked):
        similarity = np.sort(rng.uniform(-0.2, 1.0, k).astype(np.float32))[::-1]
        classes = np.where(rng.random(k) < likely, number % n_classes, rng.integers(n_classes, size=k))
        chosen: list[int] = []
        for of_class in classes:
            row = int(rng.integers(len(items) // n_classes)) * n_classes + int(of_class)
            while row in chosen:
                row = (row + 1) % len(items)
            chosen.append(row)
        near = []
        for row, one in zip(chosen, similarity, strict=True):
            same = None if label < 0 or items[row][1] < 0 else label == items[row][1]
            near.append(Neighbour(*items[row], float(one), same))
        queries.append(QueryNeighbours(video, label, tuple(near)))
    scores = ()
    if all(label >= 0 for _, label in items):
        labels = np.array([[near.label for near in query.neighbours] for query in queries])
        scores = (knn_accuracy(labels, np.zeros(labels.shape, np.float32), np.array([label for _, label in asked])),)
    index = IndexReport("Flat", {}, k, 1.0, 0, 0, 0, (), 0.0, 0.0)
    unlabelled = sum(label < 0 for _, label in items)
    return RetrievalResult(k, "majority", False, len(items), unlabelled, 0, tuple(queries), scores, index)


def squares(seed: int, frames: int, size: tuple[int, int] = (48, 36)) -> str:
    """A data URI of a WebP: a square that moves over a coloured ground, one frame or a loop of several."""
    rng = np.random.default_rng(seed)
    ground, square = rng.integers(0, 140, 3), rng.integers(150, 255, 3)
    pictures = []
    for number in range(frames):
        picture = np.empty((size[1], size[0], 3), np.uint8)
        picture[:] = ground
        left = number * (size[0] - 16) // max(1, frames - 1)
        picture[10:26, left : left + 16] = square
        pictures.append(Image.fromarray(picture))
    written = io.BytesIO()
    pictures[0].save(written, "WEBP", save_all=frames > 1, append_images=pictures[1:], duration=120, loop=0, quality=40)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode()


def pictures_of(videos: Iterable[str], moving: bool = True, different: int = 12) -> Pictures:
    """Pictures of squares, of which `different` differ."""
    drawn = [squares(number, 5 if moving else 1) for number in range(different)]
    kind = "preview" if moving else "still"
    made = {video: Picture(kind, 48, 36, drawn[number % different]) for number, video in enumerate(videos)}
    return Pictures(made, kind, "moving previews of squares")


def draws_of(number: int) -> list[dict[str, Any]]:
    """Values of so many draws of background mixing."""
    return [
        {
            "video": f"set{1 + place % 2}/{place}",
            "label": place % 3,
            "domain": place % 2,
            "donor": f"set{2 - place % 2}/donor {place}",
            "donor_label": -1,
            "donor_domain": 1 - place % 2,
            "view": f"bgmix-{place % 4}",
            "gamma": round(0.05 * (place + 1), 4),
            "start": 4 * place,
            "width": 48,
            "height": 36,
            "plain": squares(place, 5),
            "background": squares(place + 50, 1),
            "mixed": squares(place + 100, 5),
        }
        for place in range(number)
    ]


def write_page(
    out: Path,
    retrieved: Retrieved,
    *,
    pictures: Pictures | None = None,
    draws: Sequence[Mapping[str, Any]] = (),
    about: Sequence[str] = (),
    alerts: Sequence[str] = (),
) -> Path:
    """The page as the command would write it, with these pictures."""
    values = gallery_values(retrieved)
    if pictures is not None:
        values = with_pictures(values, pictures, draws)
    write(gallery_page(values, retrieved, "run made-up, seed 0", about, alerts), out)
    return out

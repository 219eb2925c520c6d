"""All that a reader can be asked of a cache, and the answers in short."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from comix_fast.cache import FeatureCache
from comix_fast.cache.layout import lay_out
from comix_fast.cache.rows import MappedRows
from comix_fast.cache.surveys import Surveys
from comix_fast.errors import ComixError

OWN = ("path", "first_byte")
NO_ROOM = ("memory", "allocate")


class Refusals(dict[str, str]):
    """What was refused, by question: our message. Of errors that say that memory ran out, `no_room` is the first."""

    no_room = ""

    def note(self, question: str, error: ComixError) -> None:
        self[question] = str(error)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or any(word in str(cause).lower() for word in NO_ROOM):
                self.no_room = self.no_room or f"{question}: {cause}"
            cause = cause.__cause__ or cause.__context__


def ask(root: Path, key: str) -> tuple[dict[str, str], Refusals]:
    """The answers by question, and what was refused. key: of the cache as it was. Any error that is not ours is raised.

    A question that can't be put, as the one before it was refused, has no answer.
    """
    answers: dict[str, str] = {}
    refusals = Refusals()

    def put(question: str, answer: Callable[[], Any]) -> Any:
        try:
            value = answer()
        except ComixError as error:
            refusals.note(question, error)
            return None
        answers[question] = short(value)
        return value

    cache: FeatureCache | None = None
    try:
        cache = FeatureCache(root)
    except ComixError as error:
        refusals.note("open", error)
    if cache is not None:
        ask_cache(cache, put)
    ask_surveys(root, key, put)
    return answers, refusals


Put = Callable[[str, Callable[[], Any]], Any]


def ask_cache(cache: FeatureCache, put: Put) -> None:
    """All that an opened cache can be asked."""
    videos = sorted(cache.extracted)
    told = cache.key, cache.recipe, cache.warnings, cache.classes, cache.names, cache.notes
    put("told", lambda: require_kinds(told))
    put("videos", lambda: videos)
    for domain in ("source", "target"):
        put(f"missing {domain}", lambda domain=domain: cache.n_missing(domain))
        put(f"test {domain}", lambda domain=domain: cache.has_test(domain))
        for split in ("train", "test"):
            put(f"list {domain} {split}", lambda domain=domain, split=split: listed(cache, domain, split))
    views: set[str] = set()
    for video in videos:
        views.update(cache.views(video))
        put(f"views {video}", lambda video=video: cache.views(video))
        put(f"row {video}", lambda video=video: cache.row(video))
        for view in cache.views(video):
            put(f"clips {video} {view}", lambda video=video, view=view: cache.clips(video, view))
    for view in sorted(views):
        ask_rows(cache, videos, view, put)
    put("failures", cache.failures)
    put("summary", lambda: summed(cache))


def require_kinds(told: tuple[Any, ...]) -> tuple[Any, ...]:
    key, recipe, *named = told
    assert isinstance(key, str) and isinstance(recipe, dict), "the key or the recipe is of another kind"
    assert all(isinstance(text, str) for texts in named for text in texts), "what should be words is not"
    return told


def listed(cache: FeatureCache, domain: str, split: str) -> Any:
    found = cache.videos(domain, split)
    for video in found:
        label = video.label
        assert type(video.id) is str, "an id is no string"
        assert label is None or (type(label) is int and 0 <= label < len(cache.classes)), f"{label} is no label"
    return found


def summed(cache: FeatureCache) -> Any:
    # Its path and its size on disk are the mutant's own.
    summary = cache.summary()
    return [value for name, value in vars(summary).items() if name not in ("path", "n_bytes")]


def ask_rows(cache: FeatureCache, videos: list[str], view: str, put: Put) -> None:
    """The rows of one view, by each way to read them."""
    having = [video for video in videos if view in cache.views(video)]
    layouts = put(f"layout {view}", lambda: lay_out(cache, having, [view]))
    if layouts is None:
        return
    rows = MappedRows(layouts[0].stretches, layouts[0].dim)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(rows)))
    put(f"take {view}", lambda: rows.take(order).numpy())
    put(f"read {view}", lambda: rows.read(0, len(rows)).numpy())
    put(f"load {view}", lambda: rows.load(lambda done: None).read(0, len(rows)).numpy())


def ask_surveys(root: Path, key: str, put: Put) -> None:
    """What the first decode found."""
    surveys = put("surveys", lambda: Surveys(root, key))
    if surveys is not None:
        for video in sorted(surveys.rows):
            put(f"survey {video}", lambda video=video: surveys.rows[video])
            put(f"background {video}", lambda video=video: surveys.background(video))


def short(value: Any) -> str:
    """A text that differs where values do."""
    return hashlib.sha256(told_apart(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def told_apart(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{told_apart(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(told_apart(one) for one in value) + "]"
    if hasattr(value, "__dataclass_fields__"):
        # Where a mutant is, and how its arrays are packed, is its own.
        return told_apart({name: getattr(value, name) for name in value.__dataclass_fields__ if name not in OWN})
    if isinstance(value, Surveys):
        return told_apart(value.rows)
    return repr(value)

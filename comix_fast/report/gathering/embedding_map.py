"""The map of a run: source and target videos as the backbone and the run's heads place them."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comix_fast.cache import FeatureCache
from comix_fast.console import Reporter
from comix_fast.errors import CacheError, RunError
from comix_fast.report.gathering.layout import Points, lay_out_all, method_text, on_grid, turned
from comix_fast.report.gathering.mixing import of_spaces
from comix_fast.report.gathering.readings import Reading
from comix_fast.report.gathering.sampling import stratified
from comix_fast.report.gathering.wording import head_labels
from comix_fast.retrieval import Embeddings, l2_normalise
from comix_fast.retrieval.vectors import Float32s, Int64s
from comix_fast.stages.bank import Banks, load_banks
from comix_fast.stages.measuring import predict_logits
from comix_fast.stages.retrieve import BACKBONE, DOMAINS, backbone_space, fitting_heads, head_space, searched
from comix_fast.stages.runs import LAST, SOURCE_ONLY
from comix_fast.stages.seen import Seen

Space = Mapping[str, Embeddings]


@dataclass(frozen=True)
class MapAsked:
    """What a map is made of. seed: of the run's heads, None takes its first finished one; it draws the layout, too.

    cache: instead of the run's own; most: videos shown; k: neighbours; threads: layouts made at once.
    """

    seed: int | None = None
    cache: Path | None = None
    most: int = 3000
    k: int = 5
    threads: int = 1


@dataclass(frozen=True, eq=False)
class MapMade:
    """A map. values: as the page has it, its pictures unset; cache: whose videos; notes: what was left out."""

    values: dict[str, Any]
    cache: FeatureCache
    notes: tuple[str, ...]


@dataclass(eq=False)
class _Loaded:
    """A cache in one direction, for all runs on it."""

    cache: FeatureCache
    banks: Banks
    seen: Seen
    backbone: Space


@dataclass(frozen=True, eq=False)
class _Told:
    """What a head says: its space, and by domain the predicted class and its probability, [V] each."""

    space: Space
    said: Mapping[str, tuple[Tensor, Tensor]]


class Maps:
    """Makes the maps of a page's runs; what runs share, a cache or a space, is loaded and laid out once."""

    def __init__(self, asked: MapAsked, reporter: Reporter) -> None:
        self._asked, self._reporter = asked, reporter
        self._caches: dict[Path, FeatureCache] = {}
        self._loaded: dict[tuple[Path, bool], _Loaded] = {}
        self._points: dict[str, Points] = {}

    def make(self, reading: Reading) -> MapMade:
        """The map of a run.

        Raises RunError if it has no head to show, or its cache is not known; CacheError if that is gone or damaged;
        ComixError for embeddings that are not finite.
        """
        seed = self._seed_of(reading)
        loaded = self._load(reading)
        fitting = fitting_heads(loaded.cache, loaded.banks, reading.folder, seed)
        heads = {name: _told(reading, seed, name, loaded.seen) for name in fitting}
        spaces = {BACKBONE: loaded.backbone} | {name: told.space for name, told in heads.items()}
        shown, notes = self._shown(loaded)
        backbone = str(loaded.cache.recipe["backbone"]["name"])
        labels = {BACKBONE: f"{backbone} features, as the backbone gives them"} | head_labels(reading.folder)
        draw = self._asked.seed or 0
        joined = {name: _joined(space)[shown] for name, space in spaces.items()}
        after = next(name for name in (LAST, *reversed(fitting)) if name in fitting)
        values = {
            "seed": seed,
            "method": method_text(len(shown), max(rows.shape[1] for rows in joined.values()), draw),
            "videos": _videos(spaces[BACKBONE], shown),
            "spaces": [
                {"name": name, "label": labels[name], **on_grid(points), **_said(heads.get(name), shown)}
                for name, points in zip(joined, self._lay_out(list(joined.values()), draw), strict=True)
            ],
            "before": SOURCE_ONLY if SOURCE_ONLY in fitting and after != SOURCE_ONLY else BACKBONE,
            "after": after,
            "neighbours": of_spaces({name: dict(space) for name, space in spaces.items()}, self._asked.k),
            "picture_note": "",
        }
        return MapMade(values, loaded.cache, notes)

    def _seed_of(self, reading: Reading) -> int:
        if self._asked.seed is None:
            if not reading.seeds:
                raise RunError(
                    f"no seed of {reading.shown} is finished", hint="finish the run with the command that began it"
                )
            return reading.seeds[0]
        if self._asked.seed not in reading.seeds:
            there = ", ".join(map(str, reading.seeds)) or "none"
            raise RunError(
                f"seed {self._asked.seed} of {reading.shown} is not there or not finished",
                hint=f"--seed takes one of those that are: {there}",
            )
        return self._asked.seed

    def _load(self, reading: Reading) -> _Loaded:
        stated, reverse = reading.folder.meta["cache"], reading.folder.recipe.reverse
        path = self._asked.cache or (Path(stated) if stated else None)
        if path is None:
            raise _no_cache(reading)
        if (path, reverse) not in self._loaded:
            cache = self._opened(path)
            banks = load_banks(cache, mixed=False, reverse=reverse, reporter=self._reporter)
            seen = Seen(banks, reporter=self._reporter)
            self._loaded[path, reverse] = _Loaded(cache, banks, seen, backbone_space(banks))
        return self._loaded[path, reverse]

    def _opened(self, path: Path) -> FeatureCache:
        if path not in self._caches:
            try:
                self._caches[path] = FeatureCache(path)
            except (CacheError, OSError) as error:
                if self._asked.cache is not None:
                    raise
                # Not the hint to extract it again: it may well be somewhere else.
                said = error.message if isinstance(error, CacheError) else f"{path}: {error.strerror or error}"
                raise CacheError(said, hint="say where the run's cache is now: --cache CACHE") from error
        return self._caches[path]

    def _shown(self, loaded: _Loaded) -> tuple[Int64s, tuple[str, ...]]:
        """Which videos are shown, source first; and a note if these are not all."""
        strata = [(domain, int(label)) for domain in DOMAINS for label in loaded.backbone[domain].labels]
        shown = stratified(strata, self._asked.most, self._asked.seed or 0)
        if len(shown) == len(strata):
            return shown, ()
        note = (
            f"the map shows {len(shown):,} of {len(strata):,} videos of {loaded.cache.path.name}, drawn evenly over "
            f"domains and classes; --map-videos {len(strata)} shows all; shares of neighbours are of all"
        )
        return shown, (note,)

    def _lay_out(self, spaces: Sequence[Float32s], seed: int) -> list[Points]:
        """Points of each space, turned to lie as the first; the same rows are laid out once for all runs."""
        keys = [hashlib.sha256(rows.tobytes()).hexdigest() for rows in spaces]
        missing = {key: rows for key, rows in zip(keys, spaces, strict=True) if key not in self._points}
        if missing:
            with self._reporter.progress("laying out maps", len(missing), "maps") as advance:
                made = lay_out_all(list(missing.values()), seed, self._asked.threads, advance)
            self._points |= dict(zip(missing, made, strict=True))
        first = self._points[keys[0]]
        return [first, *(turned(self._points[key], first) for key in keys[1:])]


def _no_cache(reading: Reading) -> RunError:
    """Of a run that was not made on a cache. Only one that trained a backbone can be extracted with its weights."""
    run = reading.folder
    if any(run.seed(seed).backbone_path(run.result).exists() for seed in reading.seeds):
        return RunError(
            f"{reading.shown} names no cache: its backbone is its own",
            hint=f"extract with --weights {shlex.quote(reading.shown)} and give that --cache",
        )
    return RunError(
        f"{reading.shown} names no cache, and trained no backbone",
        hint="give a cache of the features that its head takes: --cache CACHE",
    )


@torch.inference_mode()
def _told(reading: Reading, seed: int, name: str, seen: Seen) -> _Told:
    run = reading.folder
    head, norms, banks = run.load_head(seed, name), run.load_norms(), seen.banks(run.recipe)
    said = {}
    for domain, bank in searched(banks).items():
        confidence, predicted = predict_logits(head, bank, norms[domain]).float().softmax(dim=1).max(dim=1)
        said[domain] = predicted, confidence
    return _Told(head_space(head, banks, norms), said)


def _joined(space: Space) -> Float32s:
    """Source and target, of length 1: neighbours are by cosine, and near on the map should mean the same."""
    return np.concatenate([l2_normalise(space[domain].vectors, space[domain].ids) for domain in DOMAINS])


def _videos(space: Space, shown: Int64s) -> list[dict[str, Any]]:
    every = [
        {
            "id": video,
            "role": domain,
            "label": int(label) if label >= 0 else None,
            "picture": None,
        }
        for domain in DOMAINS
        for video, label in zip(space[domain].ids, space[domain].labels, strict=True)
    ]
    return [every[place] for place in shown]


def _said(told: _Told | None, shown: Int64s) -> dict[str, Any]:
    if told is None:
        return {"predicted": None, "confidence": None}
    predicted, confidence = (torch.cat([told.said[domain][part] for domain in DOMAINS]) for part in (0, 1))
    return {
        "predicted": predicted[shown].tolist(),
        "confidence": [round(value, 4) for value in confidence[shown].tolist()],
    }

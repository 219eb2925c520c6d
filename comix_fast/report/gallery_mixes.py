"""A sample of a cache's draws of background mixing, as pictures for the gallery."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from comix_fast.cache import FeatureCache
from comix_fast.console import Reporter
from comix_fast.errors import CacheError, VideoError
from comix_fast.pictures import Footage, MixShown, mixed_frames
from comix_fast.printable import printable
from comix_fast.stages.retrieve import DOMAINS

_URI = "data:image/webp;base64,"


@dataclass(frozen=True)
class Mixes:
    """items: JSON values, one per draw shown; n_bytes: what their pictures take in the page; note: what is missing."""

    items: Sequence[dict[str, Any]]
    n_bytes: int
    note: str


def gather_mixes(
    cache: FeatureCache,
    footage: Footage,
    *,
    examples: int,
    cap_bytes: int,
    reporter: Reporter,
    roles: Sequence[str] = DOMAINS,
    seed: int = 0,
) -> Mixes:
    """Draws of so many videos, one each, as the seed picks them; half of each domain where both have enough.

    cap_bytes: of all data URIs together; the sample ends before it. An item: {video, label, domain, donor,
    donor_label, donor_domain, view, gamma, start, width, height, plain, background, mixed}; label: a class or -1;
    domains: 0 source, 1 target, as the page has them: roles are the cache's domains in that order, turned round for a
    run that adapts from the cache's target; the last three are data URIs, plain and mixed move. Videos that can't be
    read are passed over and counted in the note.
    """
    sample = _sample(cache, examples, seed)
    if not sample:
        return Mixes((), 0, "")
    labels = _labels(cache)
    items: list[dict[str, Any]] = []
    taken, why = 0, ""
    with reporter.progress("drawing mixed backgrounds", len(sample), "draws") as advance:
        for video, view in sample:
            advance(1)
            try:
                shown = mixed_frames(footage, cache, video, view)
            except (VideoError, CacheError) as error:
                why = why or f"{printable(video)}: {printable(error.message, 300)}"
                continue
            item = _item(cache, labels, video, view, shown, roles)
            size = sum(len(item[name]) for name in ("plain", "background", "mixed"))
            if taken + size > cap_bytes:
                why = why or "more would pass --max-size"
                break
            taken += size
            items.append(item)
    note = f"mixed backgrounds: {len(items)} of {len(sample)} draws could be shown ({why})" if why else ""
    return Mixes(items, taken, note)


def _sample(cache: FeatureCache, examples: int, seed: int) -> list[tuple[str, str]]:
    """Videos and the draw to show of each, domains taking turns."""
    views = cache.mixed_views()
    if not views:
        return []
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[tuple[str, str]]] = {}
    for domain in DOMAINS:
        videos = [video.id for video in cache.videos(domain, "train")]
        chosen[domain] = [(videos[place], views[rng.integers(len(views))]) for place in rng.permutation(len(videos))]
    drawn = (pair for pair in _taking_turns(*chosen.values()) if pair[1] in cache.views(pair[0]))
    return list(islice(drawn, examples))


def _taking_turns(*lists: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for place in range(max(map(len, lists))):
        for one in lists:
            if place < len(one):
                yield one[place]


def _labels(cache: FeatureCache) -> dict[str, int]:
    listed = (video for domain in DOMAINS for split in ("train", "test") for video in cache.videos(domain, split))
    return {video.id: -1 if video.label is None else video.label for video in listed}


def _item(
    cache: FeatureCache, labels: dict[str, int], video: str, view: str, shown: MixShown, roles: Sequence[str]
) -> dict[str, Any]:
    return {
        "video": video,
        "label": labels.get(video, -1),
        "domain": roles.index(cache.domain(video)),
        "donor": shown.donor,
        "donor_label": labels.get(shown.donor, -1),
        "donor_domain": _domain(cache, shown.donor, roles),
        "view": view,
        "gamma": round(shown.gamma, 4),
        "start": shown.start,
        "width": shown.width,
        "height": shown.height,
        "plain": _uri(shown.plain),
        "background": _uri(shown.background),
        "mixed": _uri(shown.mixed),
    }


def _domain(cache: FeatureCache, donor: str, roles: Sequence[str]) -> int | None:
    """None for a donor that is no longer in the cache."""
    return roles.index(cache.domain(donor)) if donor in cache.extracted else None


def _uri(picture: bytes) -> str:
    return _URI + base64.b64encode(picture).decode()

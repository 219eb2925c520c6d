"""Some videos of a cache extracted again, as its recipe says, and compared with what it holds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import FeatureCache
from comix_fast.cache.format import MADE_WITH, VideoRow
from comix_fast.cache.stated import stated_recipe
from comix_fast.cache.surveys import Surveys
from comix_fast.config import ExtractRecipe, differences
from comix_fast.console import Reporter
from comix_fast.datasets import Dataset, Video
from comix_fast.errors import CacheError, VideoError
from comix_fast.stages.agreement import (
    OTHER_ARITHMETIC,
    SAME_ARITHMETIC,
    Match,
    Verdict,
    match_backgrounds,
    match_features,
    match_files,
)
from comix_fast.stages.draws import MixDraw, draw_mix
from comix_fast.stages.pipeline import Machine, Pipeline
from comix_fast.stages.planning import VideoPlan
from comix_fast.stages.provenance import made_with
from comix_fast.stages.survey import survey_video
from comix_fast.video import ClipRequest, clip_frames, plan_clips

AT_ONCE = 8
"""Videos whose features are computed, compared and forgotten together."""
_ORDER: Mapping[Verdict, int] = {"identical": 0, "rounding": 1, "different": 2}


@dataclass(frozen=True)
class Again:
    """One video, extracted again. shard: the file that holds it; matches: its file, background and views; versions:
    in which what made the shard differs from what is here."""

    video: str
    shard: str
    matches: tuple[Match, ...]
    versions: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the matches."""
        return max((match.verdict for match in self.matches), key=_ORDER.__getitem__, default="identical")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        matches = [match.to_json() for match in self.matches]
        named = {"video": self.video, "shard": self.shard, "verdict": self.verdict}
        return named | {"versions": list(self.versions), "matches": matches}


@dataclass(frozen=True)
class Recomputed:
    """What recomputing found. notes: in what the machine here is not the one that the recipe names."""

    videos: tuple[Again, ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs by more than rounding."""
        return all(again.verdict != "different" for again in self.videos)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"videos": [again.to_json() for again in self.videos], "notes": list(self.notes)}


@dataclass
class _Chosen:
    """A video under way. matches: what is known; background: its own, as it is now."""

    video: Video
    cached: VideoRow
    matches: list[Match] = field(default_factory=list)
    background: NDArray[np.uint8] | None = None
    readable: bool = True


class _Backgrounds(Surveys):
    """Those of a cache's surveys, and others found meanwhile for donors that it has no survey of."""

    def __init__(self, root: Path, key: str) -> None:
        self.rows, self._where = {}, {}
        if root.is_dir():
            super().__init__(root, key)
        self.found: dict[str, NDArray[np.uint8]] = {}

    def background(self, video: str) -> NDArray[np.uint8]:
        """uint8 [size, size, 3]."""
        return self.found[video] if video in self.found else super().background(video)


def recipe_to_recompute(cache: FeatureCache) -> ExtractRecipe:
    """The recipe of a cache, all of which this version can follow. Raises CacheError for another."""
    recipe = stated_recipe(cache.recipe)
    if unknown := differences(cache.recipe, recipe.to_json()):
        hint = "update comix-fast to recompute it"
        raise CacheError(f"the recipe of {cache.path} says more than this comix-fast knows of", unknown, hint)
    return recipe


def recompute(
    cache: FeatureCache, dataset: Dataset, machine: Machine, *, n_videos: int, seed: int, reporter: Reporter
) -> Recomputed:
    """Extracts n_videos random videos that have features again, all of them if there are fewer, and compares.

    machine: its backbone has the recipe's weights. Features of one video do not hang on what else is in a batch (see
    pipeline.py), so they can be had one by one. Mixes are made with the donors and draws that the cache has, on the
    backgrounds of its surveys. Raises CacheError if no video of the dataset has features.
    """
    recipe = recipe_to_recompute(cache)
    videos = {video.id: video for video in dataset.videos() if video.id in cache.extracted}
    if not videos:
        raise CacheError(f"no video of {dataset.name} has features in {cache.path}", hint="name its own dataset")
    names = random.Random(seed).sample(sorted(videos), min(n_videos, len(videos)))
    backgrounds = _Backgrounds(cache.path, cache.key)
    chosen = [_Chosen(videos[name], cache.row(name)) for name in names]
    _look(chosen, recipe, machine, backgrounds, reporter)
    plans: dict[str, VideoPlan] = {}
    for one in chosen:
        if one.readable:
            plan = _plan(cache, one, recipe)
            _find_donors(plan, videos_by_id(dataset), backgrounds, recipe, machine)
            plans[one.video.id] = plan
    todo = [one for one in chosen if one.readable]
    for one, features in _features(todo, plans, recipe, machine, backgrounds, reporter):
        one.matches += _compared(cache, one, plans[one.video.id], features, recipe, machine)
    here = made_with(str(machine.device))
    done = tuple(
        Again(one.video.id, cache.place(one.video.id)[0].name, tuple(one.matches), _versions(cache, one, here))
        for one in chosen
    )
    return Recomputed(done, tuple(_notes(recipe, machine)))


def videos_by_id(dataset: Dataset) -> dict[str, Video]:
    """Every video of a dataset."""
    return {video.id: video for video in dataset.videos()}


def _look(
    chosen: Sequence[_Chosen], recipe: ExtractRecipe, machine: Machine, surveys: Surveys, reporter: Reporter
) -> None:
    """Decodes each video to its end: is it the file that was extracted, of as many frames, with that background?"""
    mixes, same = recipe.views.mixes > 0, recipe.decoder["version"] == machine.decoder.version
    with reporter.progress("surveying again", len(chosen), "videos") as advance:
        for one in chosen:
            try:
                row, background = survey_video(one.video, machine.decoder, recipe.size, mixes, _never)
            except VideoError as error:
                one.matches.append(Match("file", "different", reason=error.message))
                one.readable = False
            else:
                one.matches.append(match_files(one.cached, row))
                one.readable = row.n_frames == one.cached.n_frames
                if background is not None and one.video.id in surveys.rows:
                    known = surveys.background(one.video.id)
                    one.matches.append(match_backgrounds(known, background, same))
            advance(1)


def _never() -> None:
    """Nobody calls the survey off."""


def _plan(cache: FeatureCache, one: _Chosen, recipe: ExtractRecipe) -> VideoPlan:
    """The clips that the recipe gives a video of as many frames; mixes with the donors that the cache has.

    A cache keeps γ as float32; the draw has all its digits.
    """
    row, views = one.cached, recipe.views
    plan = plan_clips(row.n_frames, recipe.clip_length, recipe.stride, recipe.bins, recipe.min_frames)
    starts: dict[str, tuple[int, ...]] = {view: tuple(plan.starts) for view in views.unmixed}
    speeds, mixes = dict(views.unmixed), {}
    for view in cache.views(row.id):
        if view in views.mixed:
            donor = str(cache.clips(row.id, view).donor)
            drawn = draw_mix(plan, row.id, view, [donor], lambda name: True, views.seed, views.gamma_max)
            mixes[view] = MixDraw(donor, drawn.gamma, drawn.starts)
            starts[view], speeds[view] = drawn.starts, 1
    requests = tuple(
        ClipRequest(view, number, clip_frames(plan, start, speeds[view]))
        for view in starts
        for number, start in enumerate(starts[view])
    )
    return VideoPlan(one.video, row, requests, starts, mixes)


def _find_donors(
    plan: VideoPlan, videos: Mapping[str, Video], surveys: _Backgrounds, recipe: ExtractRecipe, machine: Machine
) -> None:
    """Backgrounds of donors that the cache has no survey of, as a compacted one has none of any."""
    for draw in plan.mixes.values():
        if draw.donor in surveys.rows or draw.donor in surveys.found:
            continue
        if draw.donor not in videos:
            raise CacheError(
                f"{draw.donor}, whose background is mixed into {plan.video.id}, has no survey and is not listed",
                hint="recompute against the cache's folder, or name the dataset that it was made of",
            )
        _, background = survey_video(videos[draw.donor], machine.decoder, recipe.size, True, _never)
        assert background is not None
        surveys.found[draw.donor] = background


def _features(
    chosen: Sequence[_Chosen],
    plans: Mapping[str, VideoPlan],
    recipe: ExtractRecipe,
    machine: Machine,
    surveys: Surveys,
    reporter: Reporter,
) -> Iterator[tuple[_Chosen, dict[str, NDArray[np.float16]]]]:
    """The features of each video, by view; of those that the pipeline fails at, a match that says so."""
    total = sum(len(plans[one.video.id].requests) for one in chosen)
    sizes = [min(AT_ONCE, len(chosen) - first) for first in range(0, len(chosen), AT_ONCE)]
    left = iter(chosen)
    # A file that has changed is to be computed and compared, not refused.
    unsized = {name: replace(plan, row=replace(plan.row, n_bytes=0)) for name, plan in plans.items()}
    ordered: Iterable[VideoPlan] = (unsized[one.video.id] for one in chosen)
    with (
        reporter.progress("extracting again", total, "clips") as advance,
        Pipeline(recipe, machine, surveys, ordered) as pipeline,
    ):
        for filled in pipeline.shards(sizes, advance):
            for plan, features in filled.videos:
                one = next(left)
                if plan.video.id in filled.failures:
                    reason = filled.failures[plan.video.id]["reason"]
                    one.matches.append(Match("features", "different", reason=reason))
                else:
                    yield one, features


def _compared(
    cache: FeatureCache,
    one: _Chosen,
    plan: VideoPlan,
    features: Mapping[str, NDArray[np.float16]],
    recipe: ExtractRecipe,
    machine: Machine,
) -> list[Match]:
    same = recipe.decoder["version"] == machine.decoder.version and recipe.backbone.get("precision") == "fp32"
    bounds, matches = SAME_ARITHMETIC if same else OTHER_ARITHMETIC, []
    for view, starts in plan.starts.items():
        if view not in cache.views(one.video.id):
            matches.append(Match(view, "different", reason="the cache lacks this view"))
            continue
        clips = cache.clips(one.video.id, view)
        if tuple(clips.starts.tolist()) != starts:
            matches.append(Match(view, "different", reason="the cache has other clips"))
        elif view in plan.mixes and np.float32(clips.gamma) != np.float32(plan.mixes[view].gamma):
            matches.append(Match(view, "different", reason="the cache has another γ"))
        else:
            matches.append(match_features(view, clips.features, features[view], bounds))
    return matches


def _versions(cache: FeatureCache, one: _Chosen, here: Mapping[str, str]) -> tuple[str, ...]:
    """In which versions what made the video's features differs from what is here, as far as its file says.

    A compacted cache says of all its shards what made them.
    """
    with h5py.File(cache.place(one.video.id)[0], "r") as file:
        stated = json.loads(file.attrs.get(MADE_WITH) or "{}")
    makers = [json.loads(text) for text in stated] if isinstance(stated, list) else [stated]
    named = {name for maker in makers for name in maker}
    there = {name: sorted({str(maker[name]) for maker in makers if name in maker}) for name in named}
    return tuple(
        f"{name} {' or '.join(there.get(name, ['(not said)']))} then, {here.get(name, 'none')} now"
        for name in sorted({*there, *here} if there else ())
        if there.get(name) != [here.get(name)]
    )


def _notes(recipe: ExtractRecipe, machine: Machine) -> Iterator[str]:
    decoder = machine.decoder
    if (decoder.name, decoder.version) != (recipe.decoder["name"], recipe.decoder["version"]):
        then = f"{recipe.decoder['name']} {recipe.decoder['version']}"
        yield f"the cache was decoded by {then}, here it is {decoder.name} {decoder.version}: last bits may differ"
    if machine.device.type != recipe.device:
        yield f"the cache was computed on {recipe.device}, here it is {machine.device.type}: they round differently"

"""What a contact sheet of one video shows: its bins, its views, and which frames those need. No frame is read here."""

from __future__ import annotations

from dataclasses import dataclass

from comix_fast.cache import FeatureCache
from comix_fast.cache.format import VideoRow
from comix_fast.cache.stated import stated_recipe
from comix_fast.config import PLAIN, ExtractRecipe
from comix_fast.errors import CacheError, first_few
from comix_fast.pictures.mixes import Draw, cached_draw, cached_plan
from comix_fast.video import ClipPlan, clip_frames

MOST_MIXES = 8
"""Draws of background mixing that are drawn; the others are counted."""

MOST_FRAMES = 4096
"""Frames that a sheet's bins may show together: what nobody could look at is not drawn."""


@dataclass(frozen=True)
class BinRow:
    """A bin: its number from 1, the starts of its candidates, and the frames of the first of them, the test clip."""

    number: int
    starts: tuple[int, ...]
    frames: tuple[int, ...]


@dataclass(frozen=True)
class ViewRow:
    """One clip of a view. start, frames: of the clip; speed: how far apart its frames are; draw: of a mix alone."""

    view: str
    start: int
    frames: tuple[int, ...]
    speed: int
    draw: Draw | None = None


@dataclass(frozen=True)
class Sheet:
    """A contact sheet of one video.

    domain: "source" or "target"; domain_name: as the dataset calls it; label: the class's name, "" if unlabelled;
    speed: of the clips that stand for the bins; shown_bin: the bin, counted from 1, whose clips stand for the views;
    n_mixes: draws that the cache has of the video, of which `views` has MOST_MIXES at most.
    """

    row: VideoRow
    domain: str
    domain_name: str
    label: str
    plan: ClipPlan
    size: int
    speed: int
    bins: tuple[BinRow, ...]
    views: tuple[ViewRow, ...]
    shown_bin: int
    n_mixes: int

    @property
    def frames(self) -> list[int]:
        """Every frame that is shown, ascending, each once."""
        rows: tuple[BinRow | ViewRow, ...] = (*self.bins, *self.views)
        return sorted({number for row in rows for number in row.frames})

    @property
    def mixed_frames(self) -> set[int]:
        """Those that a background is mixed into."""
        return {number for view in self.views if view.draw is not None for number in view.frames}


def plan_sheet(cache: FeatureCache, video: str, speed: int = 1) -> Sheet:
    """The sheet of a video of a cache, by the cache's own recipe.

    speed: of the view whose clips stand for the bins; 1: plain. Raises CacheError for a video without features, for a
    view that the cache lacks, and where clips are not those of the recipe.
    """
    recipe = stated_recipe(cache.recipe)
    if recipe.bins * recipe.clip_length > MOST_FRAMES:
        raise CacheError(
            f"{recipe.bins:,} bins of {recipe.clip_length:,} frames are too many for one sheet",
            hint=f"a sheet shows up to {MOST_FRAMES:,} frames",
        )
    cache.require_view(video, _view_of(speed))
    plan = cached_plan(cache, video)
    _require_starts(cache, video, plan)
    bins = tuple(
        BinRow(number, tuple(starts), clip_frames(plan, starts[0], speed)) for number, starts in enumerate(plan.bins, 1)
    )
    shown = recipe.bins // 2
    row = cache.row(video)
    label = _label(cache, video, row)
    domain = cache.domain(video)
    return Sheet(
        row=row,
        domain=domain,
        domain_name=cache.names[domain],
        label=label,
        plan=plan,
        size=recipe.size,
        speed=speed,
        bins=bins,
        views=_views(cache, video, recipe, plan, shown),
        shown_bin=shown + 1,
        n_mixes=sum(view in recipe.views.mixed for view in cache.views(video)),
    )


def _view_of(speed: int) -> str:
    return PLAIN if speed == 1 else f"speed-{speed}"


def _views(cache: FeatureCache, video: str, recipe: ExtractRecipe, plan: ClipPlan, shown: int) -> tuple[ViewRow, ...]:
    """Plain first, then speeds from the same start, then draws, each with its own start in the bin."""
    there, start = cache.views(video), plan.bins[shown][0]
    unmixed = [
        ViewRow(view, start, clip_frames(plan, start, speed), speed)
        for view, speed in recipe.views.unmixed.items()
        if view in there
    ]
    mixed = []
    for view in [view for view in recipe.views.mixed if view in there][:MOST_MIXES]:
        draw = cached_draw(cache, video, view)
        if len(draw.starts) != plan.n_bins:
            raise _unlike(cache, video, view)
        mixed.append(ViewRow(view, draw.starts[shown], clip_frames(plan, draw.starts[shown]), 1, draw))
    return (*unmixed, *mixed)


def _require_starts(cache: FeatureCache, video: str, plan: ClipPlan) -> None:
    path, number = cache.place(video)
    (table,) = cache.tables(path, [PLAIN])
    if table.starts[int(table.offsets[number]) : int(table.offsets[number + 1])].tolist() != plan.starts:
        raise _unlike(cache, video, PLAIN)


def _unlike(cache: FeatureCache, video: str, view: str) -> CacheError:
    return CacheError(
        f"the clips of {video}, view {view}, are not those of the recipe of {cache.path}",
        hint=f"comix cache verify {cache.path} says more",
    )


def _label(cache: FeatureCache, video: str, row: VideoRow) -> str:
    """By today's lists, else as it was at extraction; "" where neither says."""
    listed = {name: label for domain in ("source", "target") for name, label in cache.lists.of_domain(domain)}
    label = listed.get(video, row.label)
    return cache.classes[label] if label is not None and 0 <= label < len(cache.classes) else ""


def match_video(cache: FeatureCache, typed: str) -> str:
    """The id that was typed, or the one of which it is a part. Raises CacheError, naming candidates, otherwise."""
    if typed in cache.extracted:
        return typed
    matching = sorted(video for video in cache.extracted if typed and typed in video)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise CacheError(
            f"{typed!r} is part of {len(matching):,} ids of {cache.path}",
            [first_few(matching, 8)],
            hint="type more of the one you mean",
        )
    failed = {one.get("id"): one.get("reason", "") for one in cache.failures()}
    if typed in failed:
        raise CacheError(f"{typed} has no features in {cache.path}: it could not be read", [failed[typed]])
    raise CacheError(
        f"the cache {cache.path} has no video {typed!r}",
        [f"it has {first_few(sorted(cache.extracted))}"] if cache.extracted else (),
        hint="type an id, or a part that one id alone has",
    )

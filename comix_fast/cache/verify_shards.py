"""The features of a cache, checked: which views there are, their arrays, and every row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.crc import row_crc32
from comix_fast.cache.reading import HDF5_ERRORS, open_array, read_array, read_view_table
from comix_fast.cache.verify_clips import ClipCheck, Clips, DrawMix
from comix_fast.cache.verify_videos import Scope, Table, check_made_with, check_table, opened
from comix_fast.config import PLAIN
from comix_fast.errors import CacheError

SLAB_BYTES = 1 << 24
EXPONENT = np.uint16(0x7C00)
"""The bits of a float16 that are all set in infinities and NaNs, and in no other number."""


def check_shard(path: Path, name: str, scope: Scope, draw: DrawMix | None) -> None:
    """One shard, its views one at a time and each a slab of features at a time."""
    ledger = scope.ledger
    with opened(path, name, "comix-shard", ledger) as file:
        if file is None:
            return
        try:
            check_made_with(file, name, ledger)
            table = check_table(file, path, name, scope)
            add_extracted(table, scope)
            check_views(file, table, _views(file, table, scope), scope, draw)
        except CacheError as error:
            ledger.refuse(name, path, error)
        except HDF5_ERRORS as error:
            ledger.add(name, f"HDF5 can't make sense of it: {error!s:.200}")


def add_extracted(table: Table, scope: Scope) -> None:
    """The videos of a file beside those of the files before it, and against the surveys."""
    ledger, found, name = scope.ledger, table.known(), table.name
    twice = [f"{video} ({scope.extracted[video].file})" for video in found if video in scope.extracted]
    ledger.require_each(twice, len(found), name, "videos are in another shard too")
    surveyed = {video: scope.surveyed[video] for video in found if video in scope.surveyed}
    differ = [f"{video} ({one.file})" for video, one in surveyed.items() if not one.agrees(found[video])]
    ledger.require_each(differ, len(surveyed), name, "videos are not what their surveys say of them")
    scope.extracted |= found
    ledger.counts.videos += len(table.rows)


def _views(file: h5py.File, table: Table, scope: Scope) -> list[str]:
    """The names of a shard's views, checked against those that the recipe gives its videos."""
    ledger, found, name = scope.ledger, set(file["views"]), table.name
    if scope.recipe is None:
        return sorted(found)
    mixed = set(scope.recipe.views.mixed)
    expected = set(scope.recipe.views.unmixed) | (mixed if found & mixed else set())
    odd = sorted(found ^ expected)
    ledger.require(not odd, name, "views are missing, or are not of the recipe", odd)
    if scope.lists is not None and mixed and not odd:
        training = [row.id for row in table.rows if row.id in scope.lists.training]
        bare = training if not found & mixed else []
        ledger.require_each(bare, len(table.rows), name, "training videos have no mixes")
        if found & mixed and not training and any(row.id in scope.lists.domain_of for row in table.rows):
            ledger.note(name, "its videos have mixes, and are tested on alone")
    return sorted(found)


def check_views(file: h5py.File, table: Table, names: Iterable[str], scope: Scope, draw: DrawMix | None) -> None:
    """All views of an open file; one that can't be read is a finding, and not the end."""
    check = None if scope.recipe is None else ClipCheck(table, scope.recipe, scope, draw)
    for view in sorted(names, key=lambda view: (view != PLAIN, view)):
        try:
            clips = _check_view(file, view, table, scope)
        except CacheError as error:
            scope.ledger.refuse(table.name, table.path, error)
        except HDF5_ERRORS as error:
            scope.ledger.add(table.name, f"{view}: HDF5 can't make sense of it: {error!s:.200}")
        else:
            if check is not None:
                check.check(clips)
    if check is not None:
        check.finish()


def _check_view(file: h5py.File, view: str, table: Table, scope: Scope) -> Clips:
    """One view: arrays that fit together, and rows that are what was written. Returns which clips it is of."""
    ledger, where, name = scope.ledger, str(table.path), table.name
    ledger.counts.invariants += 1
    placed = read_view_table(file, view, len(table.rows), where)
    group = file["views"][view]
    _check_dim(placed.dim, view, name, scope)
    _check_features(open_array(group, "features", where), view, table, placed, scope)
    ledger.counts.rows += len(placed.starts)
    ledger.counts.clips += len(placed.starts) if view == PLAIN else 0
    clips = Clips(view, placed.starts, placed.offsets)
    if "donor" in group:
        clips.donors = read_array(group, "donor", where, "string-array")
        clips.gammas = read_array(group, "gamma", where)
    if scope.recipe is not None:
        mix = view in scope.recipe.views.mixed
        ledger.require(mix or "donor" not in group, name, f"{view}: it has donors, and is no mix")
    return clips


def _check_dim(dim: int, view: str, name: str, scope: Scope) -> None:
    stated = None if scope.recipe is None else scope.recipe.backbone.get("feature_dim")
    if scope.dim is None:
        scope.dim = stated if isinstance(stated, int) else dim
    what = f"{view}: a clip has {dim:,} numbers, in this cache it should have {scope.dim:,}"
    scope.ledger.require(dim == scope.dim, name, what)


def _check_features(features: h5py.Dataset, view: str, table: Table, placed: form.ViewTable, scope: Scope) -> None:
    n_rows, dim = features.shape
    at_once = max(1, SLAB_BYTES // max(1, 2 * dim))
    changed: list[NDArray[np.int64]] = []
    infinite: list[NDArray[np.int64]] = []
    for first in range(0, n_rows, at_once):
        slab = np.ascontiguousarray(features[first : first + at_once], "<f2")
        if placed.crc32 is not None:
            changed.append(np.flatnonzero(row_crc32(slab) != placed.crc32[first : first + at_once]) + first)
        exponents = slab.view(np.uint16) & EXPONENT
        infinite.append(np.flatnonzero((exponents == EXPONENT).any(axis=1)) + first)
    for found, what in ((changed, "rows are not what was written, in"), (infinite, "rows are not finite, in")):
        wrong = np.concatenate([np.zeros(0, np.int64), *found])
        videos = np.unique(np.searchsorted(placed.offsets, wrong, side="right") - 1)
        names = (table.rows[video].id for video in videos)
        scope.ledger.require_each(names, n_rows, table.name, f"{view}: {len(wrong):,} of {n_rows:,} {what}")

"""Whether a cache is what was written into it: every byte, every checksum, and all that must hold of its contents.

A cache opens with a cheap check, and stops at the first damage. Here nothing is taken on trust and everything is
looked at: a finding never ends the check.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from comix_fast.cache import format as form
from comix_fast.cache.findings import Ledger, Verified
from comix_fast.cache.parts import PARTS
from comix_fast.cache.verify_clips import DrawMix
from comix_fast.cache.verify_compact import check_compact
from comix_fast.cache.verify_documents import (
    check_dataset,
    check_failures_file,
    check_manifest,
    check_parts,
    check_whereabouts,
    read_document,
)
from comix_fast.cache.verify_shards import check_shard
from comix_fast.cache.verify_videos import Scope, check_survey
from comix_fast.console import Reporter
from comix_fast.errors import CacheError
from comix_fast.files import PARTIAL

MEGABYTE = 1_000_000
_PART = r"[1-9][0-9]*-of-[1-9][0-9]*"
_EXPECTED = re.compile(
    rf"{form.MANIFEST}|{form.DATASET}|{form.FAILURES}|{form.VIDEOS}|\{form.LOCK}(-adopting|-{_PART})?"
    rf"|({form.SHARDS}|{form.SURVEYS})/[^/]+\.h5|{PARTS}/{_PART}(\.json|/[^/]+\.h5)"
)


def verify(path: Path, reporter: Reporter, draw: DrawMix | None = None) -> Verified:
    """Checks a cache, every file and every byte, in memory for what is known of each video and a piece of features.

    path: a cache's folder, or the file of a compacted one. draw: stages.draws.draw_mix; without it mixes are not held
    against their draws. Files of form 1 have no hashes, and are checked for sense only.
    Raises CacheError if there is no cache, OSError if the folder can't be read.
    """
    begun = time.monotonic()
    ledger = Ledger()
    scope = Scope(ledger)
    if path.is_file():
        with reporter.progress("checking", _megabytes([path]), "MB") as advance:
            check_compact(path, scope, draw)
            advance(_megabytes([path]))
    else:
        _check_folder(path, scope, reporter, draw)
    _check_donors(scope)
    _note_lists(scope)
    if ledger.counts.unhashed:
        ledger.note("", f"{ledger.counts.unhashed:,} files are of form 1, without hashes: checked for sense only")
    return Verified(path, tuple(ledger.findings), tuple(ledger.notes), ledger.counts, time.monotonic() - begun)


def _check_folder(root: Path, scope: Scope, reporter: Reporter, draw: DrawMix | None) -> None:
    ledger = scope.ledger
    if not (root / form.MANIFEST).exists() and not (root / form.SHARDS).is_dir():
        raise CacheError(f"{root} holds no feature cache", hint="make one with comix extract")
    files = _walk(root, ledger)
    manifest = read_document(root / form.MANIFEST, "comix-cache", ledger, "recipe")
    scope.key, scope.recipe = check_manifest(manifest, form.MANIFEST, ledger)
    dataset = read_document(root / form.DATASET, "comix-dataset", ledger, "recipe")
    scope.lists = check_dataset(dataset, form.DATASET, ledger)
    check_failures_file(root, ledger)
    check_parts(root, ledger)
    check_whereabouts(root, ledger)
    shards = [path for path in files if path.parent == root / form.SHARDS]
    surveys = [path for path in files if path.parent != root / form.SHARDS]
    with reporter.progress("checking", _megabytes(files), "MB") as advance:
        done = told = 0
        for number, path in enumerate((*surveys, *shards), 1):
            name = path.relative_to(root).as_posix()
            if number <= len(surveys):
                check_survey(path, name, scope)
            else:
                check_shard(path, name, scope, draw)
            done += path.stat().st_size
            advance(done // MEGABYTE - told)
            told = done // MEGABYTE
        advance(_megabytes(files) - told)


def _walk(root: Path, ledger: Ledger) -> list[Path]:
    """The HDF5 files to check, in order. Links are findings, and are not followed."""
    found, stray, partial, links = [], [], [], []

    def unreadable(error: OSError) -> None:
        ledger.add(Path(error.filename).relative_to(root).as_posix(), f"it can't be looked into: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        for name in sorted([*names, *folders]):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                links.append(relative)
            elif path.is_dir():
                continue
            elif name.endswith(PARTIAL):
                partial.append(relative)
            elif not _EXPECTED.fullmatch(relative):
                stray.append(relative)
            elif name.endswith(".h5"):
                found.append(path)
    for relative in links:
        ledger.add(relative, "it is a link, and may lead anywhere: readers refuse it", remedy="remove")
    ledger.counts.invariants += len(found)
    if partial:
        ledger.note("", "files that an interrupted extract left; the next one removes them", sorted(partial))
    if stray:
        ledger.note("", "files that are no part of a cache, and were not looked at", sorted(stray))
    return sorted(found)


def _megabytes(paths: Sequence[Path]) -> int:
    """Rounded up."""
    return -(-sum(path.stat().st_size for path in paths if path.exists()) // MEGABYTE)


def _check_donors(scope: Scope) -> None:
    """That every donor exists, and in the other domain."""
    lists = scope.lists
    for (name, domain), donors in sorted(scope.donors.items()):
        if not domain:
            continue
        other = "target" if domain == "source" else "source"
        listed = {} if lists is None else lists.domain_of
        unknown, own, unlisted = [], [], []
        for donor in sorted(donors):
            known = scope.surveyed.get(donor) or scope.extracted.get(donor)
            where = {listed.get(donor), None if known is None else known.domain} - {None}
            if not where:
                unknown.append(donor)
            elif other not in where:
                own.append(donor)
            elif lists is not None and donor not in lists.training:
                unlisted.append(donor)
        scope.ledger.require_each(unknown, len(donors), name, "donors are videos that this cache does not know")
        scope.ledger.require_each(own, len(donors), name, "donors are of the mixed videos' own domain")
        if unlisted:
            scope.ledger.note(name, f"donors are no training videos of the {other} any more", unlisted)


def _note_lists(scope: Scope) -> None:
    """What is listed and not there, and there and not listed."""
    note, lists = scope.ledger.note, scope.lists
    if lists is not None:
        if missing := [video for video in lists.domain_of if video not in scope.extracted]:
            note(form.DATASET, "videos are listed and have no features; the same extract tries them", missing)
        if unlisted := [video for video in scope.extracted if video not in lists.domain_of]:
            note(form.DATASET, "videos have features and are not listed any more", unlisted)
    if scope.surveyed and (bare := [video for video in scope.extracted if video not in scope.surveyed]):
        note(form.SURVEYS, "videos have features and no survey; the next extract decodes them again", bare)

"""The HDF5 files of a cache, opened to be checked, and what all of them say of videos; surveys in full."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from comix_fast.cache import format as form
from comix_fast.cache.findings import Ledger
from comix_fast.cache.lists import DOMAINS
from comix_fast.cache.reading import HDF5_ERRORS, open_array, open_file, read_array, read_group
from comix_fast.cache.seal import check_index, check_whole
from comix_fast.cache.verify_documents import Listed, repeated
from comix_fast.config import ExtractRecipe
from comix_fast.errors import CacheError
from comix_fast.printable import is_plain

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Known:
    """What one file says of a video. Surveys and shards must agree on it."""

    file: str
    domain: str
    n_frames: int
    sha256: str
    n_bytes: int

    def agrees(self, other: Known) -> bool:
        """Whether both are of the same video file; where one does not say its domain, of whichever."""
        mine, theirs = ((one.n_frames, one.sha256, one.n_bytes) for one in (self, other))
        return mine == theirs and (self.domain == other.domain or "" in (self.domain, other.domain))


@dataclass
class Scope:
    """What a file is held against: the manifest, the lists, and what the files before it said.

    key, recipe, lists: None where they could not be read; what hangs on them is not checked then. dim: length of a
    clip's features. donors: (file, domain of the mixed video) -> donors there.
    """

    ledger: Ledger
    key: str | None = None
    recipe: ExtractRecipe | None = None
    lists: Listed | None = None
    dim: int | None = None
    surveyed: dict[str, Known] = field(default_factory=dict)
    extracted: dict[str, Known] = field(default_factory=dict)
    donors: dict[tuple[str, str], set[str]] = field(default_factory=dict)


@contextlib.contextmanager
def opened(path: Path, name: str, encoding: str, ledger: Ledger) -> Iterator[h5py.File | None]:
    """An HDF5 file, hashed, opened and its marks checked; None where it can't be opened, which is a finding."""
    ledger.counts.invariants += 1
    try:
        with contextlib.ExitStack() as stack:
            sealed = _hashed(path, name, ledger)
            file = stack.enter_context(open_file(path, encoding))
            ledger.counts.files += 1
            ledger.counts.n_bytes += path.stat().st_size
            ledger.counts.unhashed += not sealed
            opening = stack.pop_all()
    except (CacheError, OSError) as error:
        ledger.refuse(name, path, error)
        yield None
        return
    with opening:
        yield file


def _hashed(path: Path, name: str, ledger: Ledger) -> bool:
    """Whether the file has a seal. Raises CacheError where its structure is damaged; damaged features are a finding."""
    try:
        return check_whole(path) is not None
    except CacheError as error:
        check_index(path)
        ledger.refuse(name, path, error)
        return True


@dataclass(frozen=True)
class Table:
    """The videos of one file. domains: of each, "" where the file doesn't say; sparse: some may lack some views."""

    path: Path
    name: str
    rows: Sequence[form.VideoRow]
    domains: Sequence[str]
    sparse: bool = False

    def known(self) -> dict[str, Known]:
        """What the file says of each, by id."""
        return {
            row.id: Known(self.name, domain, row.n_frames, row.sha256, row.n_bytes)
            for row, domain in zip(self.rows, self.domains, strict=True)
        }


def check_table(file: h5py.File, path: Path, name: str, scope: Scope, sparse: bool = False) -> Table:
    """The videos of a file, each with all that can be said of it alone. sparse: with a column of domains.

    Raises CacheError where they can't be read.
    """
    ledger, where = scope.ledger, str(path)
    if scope.key is not None and not sparse:
        same = file.attrs.get("key") == scope.key
        ledger.require(same, name, "it belongs to another recipe than the manifest's")
    rows = _rows(file, where)
    if sparse:
        domains: list[str] = read_array(file["videos"], "domain", where, "string-array")
        if len(domains) != len(rows):
            raise CacheError(f"{where}:/videos has columns of different lengths")
    else:
        domains = [file.attrs.get("domain")] * len(rows)
    strange = [repr(domain)[:80] for domain in domains if domain not in DOMAINS]
    ledger.require_each(strange, len(rows), name, "domains are neither source nor target")
    table = Table(path, name, rows, [domain if domain in DOMAINS else "" for domain in domains], sparse)
    _check_rows(rows, name, ledger, scope.lists)
    if scope.lists is not None:
        listed = scope.lists.domain_of
        foreign = [
            row.id
            for row, domain in zip(rows, table.domains, strict=True)
            if domain and listed.get(row.id, domain) != domain
        ]
        ledger.require_each(foreign, len(rows), name, "videos are listed in the other domain than theirs")
    return table


def _rows(file: h5py.File, where: str) -> list[form.VideoRow]:
    """The videos of a file as it says, sense or nonsense. Raises CacheError where it doesn't say."""
    table = read_group(file, "videos", where, "video-table")
    texts = [read_array(table, column, where, "string-array") for column in ("id", "sha256")]
    numbers = [read_array(table, column, where).tolist() for column in ("label", "n_frames", "fps", "n_bytes")]
    if len({len(column) for column in (*texts, *numbers)}) != 1:
        raise CacheError(f"{where}:/videos has columns of different lengths")
    (ids, hashes), (labels, n_frames, rates, n_bytes) = texts, numbers
    return [form.VideoRow(*row) for row in zip(ids, labels, n_frames, rates, hashes, n_bytes, strict=True)]


def _check_rows(rows: Sequence[form.VideoRow], name: str, ledger: Ledger, lists: Listed | None) -> None:
    def each(wrong: Iterable[str], what: str) -> None:
        ledger.require_each(wrong, len(rows), name, what)

    each((row.id for row in rows if not row.id.strip() or not is_plain(row.id)), "ids are empty or no plain text")
    each((row.id for row in rows if row.n_frames < 1), "videos have no frame")
    each((row.id for row in rows if not (math.isnan(row.fps) or 0 < row.fps < math.inf)), "rates are not above 0")
    each((row.id for row in rows if not _SHA256.fullmatch(row.sha256)), "hashes of videos are no sha256")
    each((row.id for row in rows if row.n_bytes < 0), "videos have less than no bytes")
    each((f"{row.id}: {row.label}" for row in rows if row.label < form.UNLABELLED), "labels are below −1")
    if lists is not None:
        _check_labels(rows, name, ledger, lists)
    twice = repeated(row.id for row in rows)
    ledger.require(not twice, name, "videos stand there twice", twice)


def _check_labels(rows: Sequence[form.VideoRow], name: str, ledger: Ledger, lists: Listed) -> None:
    """Labels inside the classes; of videos that are listed, and not where the lists were others at extraction."""
    beyond = [row for row in rows if row.label >= lists.n_classes and row.id in lists.domain_of]
    agreeing = sum(lists.labels.get(row.id) == row.label for row in rows)
    what = f"labels are outside the {lists.n_classes} classes"
    if len(beyond) > agreeing:
        ledger.note(name, f"{what}: they are those of other lists, at extraction", [row.id for row in beyond])
        beyond = []
    ledger.require_each((f"{row.id}: {row.label}" for row in beyond), len(rows), name, what)


def check_made_with(file: h5py.File, name: str, ledger: Ledger) -> None:
    """That a shard's list of versions, where it has one, is a list of versions."""
    stated = file.attrs.get(form.MADE_WITH)
    if stated is None:
        return
    try:
        versions = json.loads(stated) if isinstance(stated, str) else None
    except ValueError:
        versions = None
    sound = isinstance(versions, dict) and all(isinstance(value, str) for value in versions.values())
    ledger.require(sound, name, "what it was made with is no list of versions")


def check_survey(path: Path, name: str, scope: Scope) -> None:
    """One survey: its videos, and every background, one at a time."""
    ledger = scope.ledger
    with opened(path, name, "comix-survey", ledger) as file:
        if file is None:
            return
        try:
            table = check_table(file, path, name, scope)
            _add_surveyed(table.known(), name, scope)
            if scope.recipe is not None and scope.recipe.views.mixes:
                _check_backgrounds(file, path, name, len(table.rows), scope.recipe.size, ledger)
        except CacheError as error:
            ledger.refuse(name, path, error)
        except HDF5_ERRORS as error:
            ledger.add(name, f"HDF5 can't make sense of it: {error!s:.200}")


def _add_surveyed(found: Mapping[str, Known], name: str, scope: Scope) -> None:
    others = {video: scope.surveyed[video] for video in found if video in scope.surveyed}
    differ = [f"{video} ({other.file})" for video, other in others.items() if not other.agrees(found[video])]
    scope.ledger.require(not differ, name, "another survey says otherwise of the same videos", differ)
    scope.surveyed |= found


def _check_backgrounds(file: h5py.File, path: Path, name: str, n_videos: int, size: int, ledger: Ledger) -> None:
    backgrounds = open_array(file, "backgrounds", str(path))
    shape = (n_videos, size, size, 3)
    sound = backgrounds.shape == shape and backgrounds.dtype == np.uint8
    what = f"its backgrounds are {backgrounds.dtype} {list(backgrounds.shape)}, not uint8 {list(shape)}"
    if not ledger.require(sound, name, what):
        return
    damaged = []
    for number in range(n_videos):
        try:
            backgrounds[number]
        except HDF5_ERRORS:
            damaged.append(f"number {number}")
    ledger.require_each(damaged, n_videos, name, "backgrounds can't be read")
    ledger.counts.backgrounds += n_videos

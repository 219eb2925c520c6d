"""`comix cache merge`: joins the folders that the parts of an extract were written to.

    done = merge([Path("part-1"), Path("part-2")], Path("cache/ut"))

Files are copied, never moved, and checked before and after; a merge that was killed goes on when it is given again,
and one that is done does nothing. When all parts are there and finished, the result is, file by file, what one
undivided extract would have made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comix_fast.cache import format as form
from comix_fast.cache import parts as parted
from comix_fast.cache.copying import copy_checked, same_file
from comix_fast.cache.format import VideoRow
from comix_fast.cache.lists import DOMAINS
from comix_fast.cache.merge_parts import (
    PartFolder,
    Survey,
    is_begun,
    require_same_division,
    require_same_lists,
    require_same_recipe,
)
from comix_fast.cache.parts import Part, PartRecord
from comix_fast.cache.reader import read_manifest
from comix_fast.cache.room import room_for
from comix_fast.cache.stored_json import write_marked
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.whereabouts import read_whereabouts, write_whereabouts
from comix_fast.cache.writer import CacheWriter
from comix_fast.console import Reporter, Silent
from comix_fast.errors import CacheError, first_few

SHOWN_PARTS = 12


@dataclass(frozen=True)
class Merged:
    """What a merge did. n_files, n_bytes: copied; n_present: of the files to be joined, those that were there.

    lacking: what is still missing, in words; empty if the cache is complete.
    """

    cache: Path
    n_files: int
    n_bytes: int
    n_present: int
    n_videos: int
    n_listed: int
    failures: tuple[Mapping[str, str], ...]
    lacking: tuple[str, ...]


def merge(parts: Sequence[Path], out: Path, *, allow_missing: bool = False, reporter: Reporter | None = None) -> Merged:
    """Joins caches of one recipe and one dataset into the one at `out`, which may be new, old, or one of them.

    allow_missing: join what there is; the rest can be merged later. Raises CacheError, with nothing changed, if the
    recipes, lists or divisions of the parts differ, a video is in two shards that are not the same, a file is
    damaged, parts are missing, or there is no room; and if another process writes to `out`.
    """
    others = list({path.resolve(): path for path in parts if path.resolve() != out.resolve()}.values())
    begun = is_begun(out)
    if not others and not begun:
        raise CacheError("no parts to merge", hint="name the folders that the parts were extracted into")
    first = others[0] if others else out
    recipe = read_manifest(first)["recipe"]
    for path in (*others, *((out,) if (out / form.MANIFEST).exists() else ())):
        require_same_recipe(first, recipe, path)
    folders = [PartFolder(path) for path in others]
    if not begun:
        Joined(folders).require_complete(allow_missing)
    warnings = dict.fromkeys(text for folder in folders for text in folder.warnings)
    with CacheWriter.open(out, recipe, tuple(warnings)) as writer:
        # Out is read under its lock, and comes first: what is there is kept.
        joined = Joined([PartFolder(out), *folders] if is_begun(out) else folders, out)
        joined.require_complete(allow_missing)
        return _write(writer, joined, reporter or Silent())


class Joined:
    """Folders that fit together. Raises CacheError if they don't, naming both that don't."""

    def __init__(self, folders: Sequence[PartFolder], out: Path | None = None) -> None:
        self.folders, self.out = folders, out
        for folder in folders[1:]:
            require_same_lists(folders[0], folder)
        self.division = require_same_division({folder.root: folder.records for folder in folders})
        self.shards: dict[str, Path] = {}
        self.where: dict[str, Path] = {}
        for folder in folders:
            for path, ids in folder.shards.items():
                self._add_shard(path, ids)
        self.records = self._records()
        self.failures = self._failures()

    @property
    def listed(self) -> list[str]:
        """Every listed video, in the order in which an extract comes to them."""
        return [video for domain in DOMAINS for video, _ in self.folders[0].lists.of_domain(domain)]

    def _add_shard(self, path: Path, ids: Sequence[str]) -> None:
        there = self.shards.setdefault(path.name, path)
        if there is not path:
            if not same_file(there, path):
                raise CacheError(
                    f"{there} and {path} hold the same videos, but are not the same file: {first_few(ids)}",
                    hint="they were extracted twice, and not alike: leave one of the folders out",
                )
            return
        if twice := [video for video in ids if video in self.where]:
            raise CacheError(
                f"{len(twice):,} videos of {path} are in {self.where[twice[0]]} too: {first_few(twice)}",
                hint="parts of one extract share no video: leave one of the folders out",
            )
        self.where.update(dict.fromkeys(ids, path))

    def _records(self) -> dict[Part, PartRecord]:
        """Of each part, what is known; a finished record counts more than one that is not."""
        found: dict[Part, PartRecord] = {}
        for folder in self.folders:
            for record in folder.records:
                if record.part not in found or (record.finished and not found[record.part].finished):
                    found[record.part] = record
        return dict(sorted(found.items(), key=lambda item: item[0].number))

    def _failures(self) -> list[Mapping[str, str]]:
        """Each video that no folder has, and one of them failed at; as an undivided extract lists them."""
        found: dict[str, Mapping[str, str]] = {}
        for folder in self.folders:
            for one in folder.failures:
                if one.get("id") not in self.where:
                    found.setdefault(str(one.get("id")), one)
        place = {video: number for number, video in enumerate(self.listed)}
        return sorted(found.values(), key=lambda one: (place.get(str(one.get("id")), len(place)), str(one.get("id"))))

    def lacking(self) -> tuple[str, ...]:
        """What is missing, a line each; nothing if every listed video has features, or a reason why not."""
        failed = {one.get("id") for one in self.failures}
        absent = [video for video in self.listed if video not in self.where and video not in failed]
        if not absent:
            return ()
        lines = []
        if self.division is not None:
            of = self.division.of
            unknown = [str(n) for n in range(1, of + 1) if Part(n, of) not in self.records]
            unfinished = [str(part.number) for part, record in self.records.items() if not record.finished]
            if unknown:
                lines.append(f"not among the folders: part {first_few(unknown, SHOWN_PARTS)} of {of:,}")
            if unfinished:
                lines.append(f"not finished: part {first_few(unfinished, SHOWN_PARTS)} of {of:,}")
        lines.append(f"without features, and no reason why: {len(absent):,} of {len(self.listed):,} listed videos")
        return (*lines, f"the first of them: {first_few(absent)}")

    def require_complete(self, allow_missing: bool) -> None:
        """Raises CacheError if something is missing, unless that is allowed."""
        if not allow_missing and (lacking := self.lacking()):
            raise CacheError(
                "the parts are not all of it; nothing was changed",
                lacking,
                hint="extract what is missing and name its folders too, or pass --allow-missing to join what there is",
            )

    def surveys(self) -> tuple[list[Survey], list[tuple[PartFolder, Survey, tuple[VideoRow, ...]]]]:
        """Surveys to be there as they are; and those of which some videos alone are lacking: these rows.

        Each video comes from one file: from out's, else from the one that holds most. Raises CacheError if two say
        different things of one video.
        """
        whole: list[Survey] = []
        rest: list[tuple[PartFolder, Survey, tuple[VideoRow, ...]]] = []
        known: dict[str, tuple[VideoRow, Path]] = {}
        every = [(folder, survey) for folder in self.folders for survey in folder.surveys()]
        every.sort(key=lambda one: (one[0].root != self.out, -len(one[1].rows), one[1].path.name))
        for folder, survey in every:
            for row in survey.rows:
                there = known.setdefault(row.id, (row, survey.path))
                if str(there[0]) != str(row):  # as text, for a NaN is not itself
                    raise CacheError(
                        f"{there[1]} and {survey.path} are of different files of {row.id}",
                        [f"sha256 {there[0].sha256[:12]} and {row.sha256[:12]}"],
                        hint="parts of one extract read the same videos: leave one of the folders out",
                    )
            new = tuple(row for row in survey.rows if known[row.id][1] == survey.path)
            if len(new) == len(survey.rows):
                whole.append(survey)
            elif new:
                rest.append((folder, survey, new))
        return whole, rest


def _write(writer: CacheWriter, joined: Joined, reporter: Reporter) -> Merged:
    out = writer.root
    surveys, rest = joined.surveys()
    files = {out / form.SHARDS / name: path for name, path in joined.shards.items()}
    files |= {out / form.SURVEYS / survey.path.name: survey.path for survey in surveys}
    missing = {target: source for target, source in files.items() if target != source}
    size = sum(source.stat().st_size for source in missing.values())
    kept = "what is copied is kept; the same command goes on from there"
    if not (out / form.DATASET).exists():
        writer.write_dataset(joined.folders[0].dataset)
    _hand_on_whereabouts(out, joined)
    n_bytes, shown = 0, reporter if missing else Silent()
    with room_for(out, out, size, kept), shown.progress("copying", len(missing), "files") as advance:
        for target, source in missing.items():
            n_bytes += copy_checked(source, target)
            advance(1)
        for folder, survey, rows in rest:
            known = Surveys(folder.root, folder.key)
            backgrounds = [known.background(row.id) for row in rows] if survey.backgrounds else None
            writer.add_survey(survey.domain, rows, backgrounds)
        lacking = joined.lacking()
        _write_outcome(writer, joined, complete=not lacking)
    n_files = len(missing) + len(rest)
    return Merged(
        out,
        n_files,
        n_bytes,
        len(files) - len(missing),
        len(joined.where),
        len(joined.listed),
        tuple(joined.failures),
        lacking,
    )


def _hand_on_whereabouts(out: Path, joined: Joined) -> None:
    """The first part's hint where the videos are, if out has none."""
    if (out / form.VIDEOS).exists():
        return
    for folder in joined.folders:
        with contextlib.suppress(CacheError):
            if (named := read_whereabouts(folder.root)) is not None:
                write_whereabouts(out, named)
                return


def _write_outcome(writer: CacheWriter, joined: Joined, complete: bool) -> None:
    """failures.json, which ends the parts' records; or these, as long as parts are missing."""
    ours = PartFolder(writer.root)
    if complete:
        if ours.records or not (writer.root / form.FAILURES).exists() or list(ours.failures) != joined.failures:
            writer.write_failures(joined.failures)
        return
    for part, record in joined.records.items():
        if record not in ours.records:
            write_marked(parted.record_path(writer.root, part), "comix-part", record.to_json())
    told = {one.get("id") for record in joined.records.values() for one in record.failures}
    rest, known = (
        [dict(one) for one in failures if one.get("id") not in told] for failures in (joined.failures, ours.failures)
    )
    if rest != known:
        write_marked(writer.root / form.FAILURES, "comix-failures", {"failures": rest})

"""Which of a dataset's videos are on disk, and where. The one place that looks."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from comix_fast.datasets.assembly import Place, caveats, require_apart
from comix_fast.datasets.model import Dataset, Domain, Split, Video
from comix_fast.datasets.naming import LOOKED_FOR, VIDEO_SUFFIXES
from comix_fast.errors import DatasetError, first_few


@dataclass(frozen=True)
class Hit:
    """What stands for a video on disk; link: whether that itself is a symbolic link."""

    path: Path
    link: bool


Found = dict[Path, Hit | None]


@dataclass(frozen=True)
class Missing:
    """The videos of one list that have neither a file nor a folder."""

    domain: Domain
    split: Split
    total: int
    videos: tuple[Video, ...]

    @property
    def sentence(self) -> str:
        """How many of which list have no file, and where they should lie."""
        root = self.domain.origin.root
        under = "" if root is None else f" under {root}"
        return (
            f"{len(self.videos):,} of {self.total:,} videos of {self.domain.list_name(self.split)} have no file{under}"
        )


def find_missing(dataset: Dataset) -> tuple[Missing, ...]:
    """The missing videos of each list that has any.

    A video's path is a file or a folder as written, or stands for the file of that name with a known suffix.
    Each folder is listed once, however many videos lie in it. Raises DatasetError if one can't be listed.
    """
    return _missing(dataset, _find(dataset.videos()))


def check_files(dataset: Dataset, allow_missing: bool = False) -> Dataset:
    """The dataset with every path replaced by the file or folder that is there.

    allow_missing: leave missing videos out, and say so in the notes, instead of refusing; the notes that
    count videos then count what is left.
    Raises DatasetError if videos are missing, if none is left of a list, if a folder can't be listed, or if
    links make a video of the source the same file as one of the target.
    """
    found = _find(dataset.videos())
    missing = _missing(dataset, found)
    gone = [one for one in missing if len(one.videos) == one.total]
    if missing and (gone or not allow_missing):
        raise _error(missing, gone, allow_missing)
    source, target = _with_files(dataset.source, found), _with_files(dataset.target, found)
    require_apart(source, target, _Links(found).place)
    kept = dataclasses.replace(dataset, source=source, target=target)
    stale = set(caveats(dataset))
    notes = [note for note in dataset.notes if note not in stale]
    left_out = [f"left out: {one.sentence} ({first_few(v.id for v in one.videos)})" for one in missing]
    return dataclasses.replace(kept, notes=()).noting(*notes, *left_out, *caveats(kept))


def _missing(dataset: Dataset, found: Found) -> tuple[Missing, ...]:
    lists = []
    for _, domain in dataset.domains():
        for split, videos in domain.splits():
            absent = tuple(video for video in videos if found[video.path] is None)
            if absent:
                lists.append(Missing(domain, split, len(videos), absent))
    return tuple(lists)


def _error(missing: tuple[Missing, ...], gone: list[Missing], allowed: bool) -> DatasetError:
    first, *others = gone + [one for one in missing if one not in gone]
    details = [first_few(video.id for video in first.videos), LOOKED_FOR, *(one.sentence for one in others)]
    roots = [root for one in missing if (root := one.domain.origin.root) is not None and not root.is_dir()]
    details += [f"there is no folder {root}" for root in dict.fromkeys(roots)]
    advice = " and ".join(dict.fromkeys(one.domain.origin.advice for one in missing if one.domain.origin.advice))
    ways = [advice] if advice else []
    if not gone and not allowed:
        ways.append("pass --allow-missing to leave them out")
    return DatasetError(first.sentence, details, ", or ".join(ways))


def _find(videos: Iterable[Video]) -> Found:
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(video.path for video in videos):
        by_folder[path.parent].append(path)
    found: Found = {}
    for folder, paths in by_folder.items():
        links = _links_by_name(folder)
        stems = _by_stem(links) if any(path.name not in links for path in paths) else {}
        for path in paths:
            found[path] = _match(path, links, stems)
    return found


def _links_by_name(folder: Path) -> dict[str, bool]:
    """Each name in a folder, and whether it is a link. The listing says so itself: nothing else is asked."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DatasetError(f"{folder} can't be listed: {error.strerror or error}") from error


def _by_stem(names: Iterable[str]) -> dict[str, str]:
    """A file with a known suffix for each stem; where several share one, the suffix listed first wins."""
    order = {suffix: place for place, suffix in enumerate(VIDEO_SUFFIXES)}
    split = (name.rpartition(".") for name in names)
    known = [(order[f".{end.lower()}"], stem, end) for stem, _, end in split if f".{end.lower()}" in order]
    return {stem: f"{stem}.{end}" for _, stem, end in sorted(known, reverse=True)}


def _match(path: Path, links: dict[str, bool], stems: dict[str, str]) -> Hit | None:
    name = path.name if path.name in links else stems.get(path.name)
    if name is not None:
        hit = Hit(path.with_name(name), links[name])
        return None if hit.link and not _exists(hit.path) else hit
    # A file system may hold the name in another case or another Unicode form than the list does.
    return Hit(path, path.is_symlink()) if links and _exists(path) else None


def _exists(path: Path) -> bool:
    """Whether something is there; not for a name that is longer than a file system takes, or behind a locked door."""
    try:
        return path.exists()
    except OSError:
        return False


def _with_files(domain: Domain, found: Found) -> Domain:
    def present(videos: tuple[Video, ...]) -> tuple[Video, ...]:
        return tuple(
            dataclasses.replace(video, path=hit.path) for video in videos if (hit := found[video.path]) is not None
        )

    return dataclasses.replace(
        domain, train=present(domain.train), test=None if domain.test is None else present(domain.test)
    )


class _Links:
    """Follows links; a folder's own path is followed once for all the videos in it."""

    def __init__(self, found: Found) -> None:
        self._links = {hit.path for hit in found.values() if hit is not None and hit.link}
        self._folders: dict[Path, str] = {}

    def place(self, video: Video) -> Place:
        if video.path in self._links:
            return os.path.realpath(video.path), video.segment
        parent = video.path.parent
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(parent)
        return f"{self._folders[parent]}{os.sep}{video.path.name}", video.segment

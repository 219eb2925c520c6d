"""From two domains' lists to a dataset: ids made unique, contradictions refused, caveats noted."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence

from comix_fast.datasets.model import Dataset, Domain, Video
from comix_fast.datasets.naming import require_domain_names
from comix_fast.errors import DatasetError, first_few

Place = tuple[str, tuple[int, int] | None]


def assemble(
    name: str, classes: tuple[str, ...], source: Domain, target: Domain, *, notes: Sequence[str] = ()
) -> Dataset:
    """A dataset whose ids are unique, or a DatasetError that counts and names what stands against it.

    Refused: an empty list, an id or a file twice in one list, one video with two labels, a video in both
    domains.
    An id that means another video in the domain's other list is prefixed by "train/" or "test/" (all of that
    domain's ids are), one that occurs in both domains by the domain's name and "/" (all ids are).
    Files are compared by their paths as written, which must be absolute; `check_files` follows links.
    """
    require_domain_names(source.name, target.name)
    for domain in (source, target):
        _require_distinct(domain)
    source, target = _split_ids(source), _split_ids(target)
    for domain in (source, target):
        _require_one_label(domain, classes)
    source_ids = {video.id for video in source.videos()}
    if any(video.id in source_ids for video in target.videos()):
        source, target = _prefixed(source), _prefixed(target)
    require_apart(source, target, written_place)
    dataset = Dataset(name, classes, source, target)
    return dataset.noting(*notes, *caveats(dataset))


def written_place(video: Video) -> Place:
    """Where a video lies, by its path as written, without `.` and `..`; links are not followed."""
    text = str(video.path)
    return (os.path.normpath(text) if ".." in text else text), video.segment


def require_apart(source: Domain, target: Domain, place: Callable[[Video], Place]) -> None:
    """Raises DatasetError if a video of the source is also one of the target."""
    target_places = {place(video): video.id for video in target.videos()}
    shared = [video.id for video in source.videos() if place(video) in target_places]
    if shared:
        raise DatasetError(
            f"{len(shared):,} of {len(source.videos()):,} videos of {source.name} (source) are also "
            f"videos of {target.name} (target)",
            [first_few(shared)],
            "the target's labels would leak into training; take them out of one of the two",
        )


def _require_distinct(domain: Domain) -> None:
    for split, videos in domain.splits():
        where = domain.list_name(split)
        if not videos:
            hint = "leave it out to measure on the training videos" if split == "test" else ""
            raise DatasetError(f"{where} ({domain.name}, {split}) holds no video", hint=hint)
        twice = [name for name, count in Counter(video.id for video in videos).items() if count > 1]
        if twice:
            raise DatasetError(
                f"{len(twice):,} of {len(videos):,} videos in {where} stand there more than once",
                [first_few(twice)],
                "list each video once",
            )
        _require_distinct_files(videos, where)


def _require_distinct_files(videos: Sequence[Video], where: str) -> None:
    # Segments may be annotated twice (EPIC's D3 has such pairs); a whole file stands for one video.
    first: dict[Place, str] = {}
    again = [
        f"{first[place]} = {video.id}"
        for video in videos
        if video.segment is None and first.setdefault(place := written_place(video), video.id) != video.id
    ]
    if again:
        raise DatasetError(
            f"{len(again):,} of {len(videos):,} files in {where} stand there under two names",
            [first_few(again)],
            "list each video once",
        )


def _split_ids(domain: Domain) -> Domain:
    """One id for a file in both lists, and a prefix by split where one id stands for two videos."""
    if domain.test is None:
        return domain
    names = {written_place(video): video.id for video in domain.train}
    test = tuple(
        video if name == video.id else dataclasses.replace(video, id=name)
        for video in domain.test
        if (name := names.get(written_place(video), video.id))
    )
    places = {video.id: written_place(video) for video in domain.train}
    if all(places.get(video.id, place) == place for video in test if (place := written_place(video))):
        return dataclasses.replace(domain, test=test)
    return dataclasses.replace(
        domain,
        train=tuple(dataclasses.replace(video, id=f"train/{video.id}") for video in domain.train),
        test=tuple(
            dataclasses.replace(video, id=f"{'train' if written_place(video) in names else 'test'}/{video.id}")
            for video in test
        ),
    )


def _prefixed(domain: Domain) -> Domain:
    def prefix(videos: tuple[Video, ...]) -> tuple[Video, ...]:
        return tuple(dataclasses.replace(video, id=f"{domain.name}/{video.id}") for video in videos)

    return dataclasses.replace(
        domain, train=prefix(domain.train), test=None if domain.test is None else prefix(domain.test)
    )


def _require_one_label(domain: Domain, classes: Sequence[str]) -> None:
    labels = {video.id: video.label for video in domain.train if video.label is not None}
    torn = [
        f"{video.id} ({classes[labels[video.id]]} and {classes[video.label]})"
        for video in domain.test or ()
        if video.label is not None and labels.get(video.id, video.label) != video.label
    ]
    if torn:
        raise DatasetError(
            f"{len(torn):,} of {len(domain.test or ()):,} test videos of {domain.name} have one label in "
            f"{domain.list_name('train')} and another in {domain.list_name('test')}",
            [first_few(torn)],
        )


def caveats(dataset: Dataset) -> list[str]:
    """Notes that follow from the lists themselves; `check_files` renews them when it leaves videos out."""
    notes = []
    for role, domain in dataset.domains():
        if domain.test is None:
            continue
        train = {written_place(video) for video in domain.train}
        both = sum(written_place(video) in train for video in domain.test)
        if both:
            effect = {"source": "trained on with their labels", "target": "adapted on without their labels"}[role]
            notes.append(
                f"{both:,} of the {len(domain.test):,} test videos of {domain.name} ({role}) are also "
                f"training videos, {effect}"
            )
    seen = {video.label for video in dataset.source.train}
    absent = [name for label, name in enumerate(dataset.classes) if label not in seen]
    if absent:
        notes.append(
            f"{len(absent):,} of {len(dataset.classes):,} classes have no training video in "
            f"{dataset.source.name}: {first_few(absent)}"
        )
    if dataset.target.test is None:
        notes.append(dataset.measured()[1])
    return notes

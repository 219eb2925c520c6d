"""Folders of class folders of videos, and flat folders of unlabelled ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comix_fast.datasets.assembly import assemble
from comix_fast.datasets.model import Dataset, Domain, Origin, Video
from comix_fast.datasets.naming import (
    LOOKED_FOR,
    absolute,
    is_frame_name,
    is_video_name,
    natural_key,
    one_form,
    require_classes,
    require_plain,
)
from comix_fast.errors import DatasetError, first_few
from comix_fast.printable import printable


@dataclass
class Scan:
    """What lies in a folder: videos straight in it, folders without frames, files that are neither."""

    root: Path
    videos: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def scan(root: Path) -> Scan:
    """List a folder one level deep, in natural order; hidden names are passed over.

    A video is a file with a known suffix or a folder with at least one frame in it. Raises DatasetError if
    the folder can't be listed or a name is not plain text.
    """
    found = Scan(root)
    try:
        with os.scandir(root) as entries:
            for entry in sorted(entries, key=lambda entry: natural_key(entry.name)):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (found.videos if _holds_frames(entry.path) else found.folders).append(entry.name)
                else:
                    (found.videos if is_video_name(entry.name) else found.others).append(entry.name)
    except OSError as error:
        raise DatasetError(f"{error.filename or root} can't be listed: {error.strerror or error}") from error
    require_plain([*found.videos, *found.folders], str(root))
    return found


def _holds_frames(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(is_frame_name(entry.name) for entry in entries)


def scan_classes(root: Path) -> dict[str, Scan]:
    """A folder of class folders: each class's name and what lies in it, in natural order.

    Raises DatasetError if there is no class folder, or videos lie beside them.
    """
    top = scan(root)
    if not top.folders:
        seen = f"videos ({len(top.videos):,}) and no folder of videos" if top.videos else "nothing"
        raise DatasetError(
            f"{root} holds no class folders",
            [f"found {seen} in it", "expected one folder per class, named after it, with the class's videos"],
            "if a class's frames lie straight in its folder, give each video a folder of its own",
        )
    if top.videos:
        raise DatasetError(
            f"{root} holds videos ({len(top.videos):,}) beside its class folders ({len(top.folders):,})",
            [first_few(top.videos)],
            "move them into class folders, or list the videos in a CSV",
        )
    return {name: scan(root / name) for name in top.folders}


def labelled_videos(scans: dict[str, Scan], classes: Sequence[str], under: Path) -> tuple[Video, ...]:
    """The videos of class folders, by class and natural order; their ids are their paths below `under`."""
    return tuple(
        Video((where.root / name).relative_to(under).as_posix(), where.root / name, label)
        for label, class_name in enumerate(classes)
        if (where := scans.get(class_name)) is not None
        for name in where.videos
    )


def flat_videos(found: Scan, under: Path) -> tuple[Video, ...]:
    """The videos straight in a folder, without labels; their ids are their paths below `under`."""
    return tuple(
        Video((found.root / name).relative_to(under).as_posix(), found.root / name, None) for name in found.videos
    )


def require_filled(scans: dict[str, Scan], root: Path) -> None:
    """Raises DatasetError if a class folder holds no video."""
    empty = [name for name, found in scans.items() if not found.videos]
    if empty:
        raise DatasetError(
            f"{len(empty):,} of {len(scans):,} class folders of {root} hold no video",
            [first_few(empty), LOOKED_FOR],
            "fill or remove them",
        )


def passed_over(scans: Sequence[Scan], root: Path) -> list[str]:
    """A note on what was passed over because it is no video, if anything was."""
    names = [(found.root / name).relative_to(root).as_posix() for found in scans for name in found.others]
    inner = [(found.root / name).relative_to(root).as_posix() for found in scans for name in found.folders]
    skipped = names + inner
    if not skipped:
        return []
    # Nobody has asked these for plain names.
    shown = printable(first_few(skipped, 3))
    return [f"passed over under {printable(str(root))}, being no videos ({len(skipped):,}): {shown}"]


def load_folders(source: Path, target: Path) -> Dataset:
    """A dataset from two folders of class folders; the target may be a flat folder of unlabelled videos.

    The classes are the source's class folders in natural order. Neither domain has a test list, so the target
    is measured on its own videos. Raises DatasetError if the class folders differ, hold no videos, or can't
    be listed.
    """
    source, target = absolute(source), absolute(target)
    source_scans = scan_classes(source)
    require_filled(source_scans, source)
    classes = require_classes(list(source_scans), str(source))
    notes = passed_over(list(source_scans.values()), source)
    top = scan(target)
    if top.videos and not top.folders:
        target_videos = flat_videos(top, target)
        notes += passed_over([top], target)
    else:
        target_scans = scan_classes(target)
        _require_same_classes(classes, list(target_scans), source, target)
        require_filled(target_scans, target)
        target_videos = labelled_videos(target_scans, classes, target)
        notes += passed_over(list(target_scans.values()), target)
    names = _names(source, target)
    domains = (
        Domain(names[0], labelled_videos(source_scans, classes, source), None, _origin(source, "--source")),
        Domain(names[1], target_videos, None, _origin(target, "--target")),
    )
    return assemble("-".join(names), classes, *domains, notes=notes)


def _origin(root: Path, option: str) -> Origin:
    return Origin(root, (str(root), ""), f"check {option} {root}")


def _names(source: Path, target: Path) -> tuple[str, str]:
    names = tuple(folder.name or "root" for folder in (source, target))
    if names[0] == names[1]:
        return f"source-{names[0]}", f"target-{names[1]}"
    return names[0], names[1]


def _require_same_classes(classes: Sequence[str], others: Sequence[str], source: Path, target: Path) -> None:
    only_source = [name for name in classes if name not in others]
    only_target = [name for name in others if name not in classes]
    if not only_source and not only_target:
        return
    details = []
    if only_source:
        details.append(f"{len(only_source):,} only under {source}: {first_few(only_source)}")
    if only_target:
        details.append(f"{len(only_target):,} only under {target}: {first_few(only_target)}")
    if alike := set(map(one_form, only_source)) & set(map(one_form, only_target)):
        details.append(f"{len(alike):,} look the same and are written in different Unicode forms")
    raise DatasetError(
        f"the class folders of source and target differ: {len(classes):,} and {len(others):,} classes",
        details,
        "both domains need the same class folders; a target without labels is a flat folder of videos",
    )

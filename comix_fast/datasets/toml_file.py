"""Datasets described by a small TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.datasets.assembly import assemble
from comix_fast.datasets.folders import (
    flat_videos,
    labelled_videos,
    passed_over,
    scan,
    scan_classes,
)
from comix_fast.datasets.model import Dataset, Domain, Origin, Role, Split, Video
from comix_fast.datasets.naming import LONGEST_NAME, absolute, require_classes
from comix_fast.datasets.tables import LONGEST_PATH, read_class_names, read_rows, videos_of
from comix_fast.datasets.text_files import read_lines, shown
from comix_fast.errors import DatasetError, first_few
from comix_fast.printable import is_plain, printable

LONGEST_FILE = 2**20
"""Characters of such a file."""

MOST_DOTS = 64
"""In a line: the parser takes time that grows with the square of a dotted key's parts, or worse."""

_TOP_KEYS = ("name", "classes", "source", "target")
_SHOWN = 80
_DOMAIN_KEYS = ("name", "root", "train", "test")


@dataclass(frozen=True)
class _Place:
    """One table of the file, and what its lists are read with."""

    file: Path
    role: Role
    keys: Mapping[str, str]
    classes: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"[{self.role}] of {self.file}"

    def path(self, key: str) -> Path:
        """A path of the file, relative to the file's own folder."""
        return absolute(self.file.parent / self.keys.get(key, ""))


def load_toml(path: Path) -> Dataset:
    """A dataset from a TOML file; its paths are relative to the file's folder.

    classes: a list of names, or the path of a text file with one a line.
    [source], [target]: name; root, the folder that lists' paths are relative to (the file's own by default);
        train and test (optional), each a CSV of `path,label` (a class's index or name; a target's may be
        missing) or a folder of class folders (for the target, also a flat folder of videos).
    name (optional): of the dataset; the file's own otherwise.
    Videos in a CSV are not looked up; see `check_files`. Raises DatasetError for anything it can't follow.
    """
    content = _read(path)
    _require_known(content, _TOP_KEYS, str(path))
    classes = _classes(content, path)
    domains: list[Domain] = []
    notes: list[str] = []
    places = [
        _Place(path, "source", _domain_keys(content, "source", path), classes),
        _Place(path, "target", _domain_keys(content, "target", path), classes),
    ]
    for place in places:
        domain, passed = _domain(place)
        domains.append(domain)
        notes += passed
    name = content.get("name", path.stem)
    if not isinstance(name, str):
        raise DatasetError(f"name in {path} is {_kind(name)}; a text is needed")
    if not is_plain(name) or len(name) > LONGEST_NAME:
        raise DatasetError(f"the name in {path} is longer than {LONGEST_NAME} characters, or holds control characters")
    return assemble(name, classes, *domains, notes=notes)


def _read(path: Path) -> dict[str, Any]:
    lines = []
    for number, line in enumerate(read_lines(path, LONGEST_FILE), start=1):
        if line.count(".") > MOST_DOTS:
            raise DatasetError(
                f"line {number:,} of {shown(path)} has more than {MOST_DOTS} dots",
                hint="break it over several lines, or give classes as the path of a text file",
            )
        lines.append(line.replace("\r\n", "\n"))
    try:
        return tomllib.loads("".join(lines))
    # What nests without end and a number of thousands of digits are told in other ways than as faults of TOML.
    except RecursionError as error:
        raise DatasetError(f"{shown(path)} is not TOML: it nests too deep") from error
    except ValueError as error:
        raise DatasetError(f"{shown(path)} is not TOML: {error}") from error


def _require_known(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise DatasetError(
            f"{where} has keys that mean nothing here: {first_few(printable(ascii(key), _SHOWN) for key in unknown)}",
            [f"known are {', '.join(known)}"],
        )


def _classes(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    classes = content.get("classes")
    if isinstance(classes, str):
        _require_path(classes, "classes", str(path))
        listed = path.parent / classes
        return require_classes(read_class_names(listed), str(listed))
    if isinstance(classes, list) and all(isinstance(name, str) for name in classes):
        return require_classes(classes, f"classes in {path}")
    raise DatasetError(
        f"{path} names no classes" if classes is None else f"classes in {path} is {_kind(classes)}",
        ['write classes = ["walk", "wave"], or the path of a text file with one a line'],
    )


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        dict: "a table",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _domain_keys(content: Mapping[str, Any], role: Role, path: Path) -> dict[str, str]:
    table = content.get(role)
    if not isinstance(table, dict):
        raise DatasetError(f"{path} has no table [{role}]", [f"it needs the keys {', '.join(_DOMAIN_KEYS)}"])
    _require_known(table, _DOMAIN_KEYS, f"[{role}] of {path}")
    wrong = [f"{key} is {_kind(value)}" for key, value in table.items() if not isinstance(value, str)]
    wrong += [fault for key, value in table.items() if isinstance(value, str) and (fault := _path_fault(key, value))]
    wrong += [f"{key} is empty" for key, value in table.items() if isinstance(value, str) and not value.strip()]
    if "train" not in table:
        wrong.append("train is missing")
    if wrong:
        raise DatasetError(
            f"[{role}] of {path} can't be followed",
            wrong,
            "name, root, train and test are texts; train is needed",
        )
    return {"name": role, **table}


def _path_fault(key: str, value: str) -> str:
    if len(value) > LONGEST_PATH:
        return f"{key} has {len(value):,} characters"
    return "" if is_plain(value) else f"{key} holds control characters"


def _require_path(value: str, key: str, where: str) -> None:
    if fault := _path_fault(key, value):
        raise DatasetError(f"{fault}, in {where}")


def _domain(place: _Place) -> tuple[Domain, list[str]]:
    root = place.path("root")
    train, notes = _videos(place, "train", root)
    test: tuple[Video, ...] | None = None
    if "test" in place.keys:
        test, more = _videos(place, "test", root)
        notes = [*notes, *more]
    origin = Origin(
        root,
        (place.keys["train"], place.keys.get("test", "")),
        f"check [{place.role}] root in {place.file.name}",
    )
    return Domain(place.keys["name"], train, test, origin), notes


def _videos(place: _Place, split: Split, root: Path) -> tuple[tuple[Video, ...], list[str]]:
    listed = place.path(split)
    try:
        is_folder, is_there = listed.is_dir(), listed.exists()
    except OSError as error:
        raise DatasetError(f"{split} in {place.where} can't be looked up: {error.strerror or error}") from error
    if is_folder:
        return _folder(place, listed, root)
    if not is_there:
        raise DatasetError(
            f"{split} in {place.where} is neither a CSV nor a folder: there is no {listed}",
            hint="paths in the file are relative to the file's own folder",
        )
    unlabelled = place.role == "target"
    return videos_of(read_rows(listed), root, place.classes, str(listed), unlabelled=unlabelled), []


def _folder(place: _Place, folder: Path, root: Path) -> tuple[tuple[Video, ...], list[str]]:
    under = root if folder.is_relative_to(root) else folder
    top = scan(folder)
    if place.role == "target" and top.videos and not top.folders:
        return flat_videos(top, under), passed_over([top], folder)
    scans = scan_classes(folder)
    unknown = [name for name in scans if name not in place.classes]
    if unknown:
        raise DatasetError(
            f"{len(unknown):,} of {len(scans):,} class folders of {folder} are not among the classes",
            [first_few(unknown), f"the {len(place.classes)} classes are {first_few(place.classes, 12)}"],
            f"rename them, or change classes in {place.file.name}",
        )
    return labelled_videos(scans, place.classes, under), passed_over(list(scans.values()), folder)

"""Parts of an extract that several machines share: `--shard i/n`, and what each leaves in the cache's folder.

Each part has a lock and a record of its own, so that any number of them may write into one folder at the same time,
or each into a folder of its own that `comix cache merge` joins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from comix_fast.cache import format as form
from comix_fast.cache.plain_files import stored_files
from comix_fast.cache.shapes import is_failures, is_whole
from comix_fast.cache.stored_json import read_marked
from comix_fast.errors import CacheError, ComixError

PARTS = "parts"
MOST_PARTS = 10**9
_TYPED = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_FILE = re.compile(r"([1-9][0-9]{0,8})-of-([1-9][0-9]{0,8})\.json")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """Part `number` (from 1) of `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, typed: str) -> Part:
        """From "2/16". Raises ComixError for anything else."""
        match = _TYPED.fullmatch(typed)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ComixError(
                f"--shard must be i/n with i from 1 to n, not {typed!r}", hint="the second of sixteen parts is 2/16"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """As files are named: 2-of-16."""
        return f"{self.number}-of-{self.of}"

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every of-th item, beginning with this part's."""
        return items[self.number - 1 :: self.of]


@dataclass(frozen=True)
class Division:
    """What parts must agree on to share a cache. lists: digest of the lists and classes; shard_size: videos a shard."""

    of: int
    shard_size: int
    lists: str

    def differences(self, other: Division, here: str = "", there: str = "") -> list[str]:
        """One line for each thing that two divisions differ in. here, there: where each is, if it is to be said."""
        pairs = (
            ("parts", self.of, other.of),
            ("--shard-size", self.shard_size, other.shard_size),
            ("digest of the lists", self.lists[:12], other.lists[:12]),
        )
        return [
            f"{name}: {ours} in {here}, {theirs} in {there}" if here else f"{name}: {ours}, there {theirs}"
            for name, ours, theirs in pairs
            if ours != theirs
        ]


@dataclass(frozen=True)
class PartRecord:
    """How far a part has come. failures: as in failures.json; finished: whether it came to its end."""

    part: Part
    division: Division
    finished: bool
    failures: tuple[dict[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As its file holds it."""
        return {
            "part": self.part.number,
            "of": self.part.of,
            "shard_size": self.division.shard_size,
            "lists": self.division.lists,
            "finished": self.finished,
            "failures": list(self.failures),
        }


def record_path(root: Path, part: Part) -> Path:
    """Where a part's record is."""
    return root / PARTS / f"{part.name}.json"


def lock_path(root: Path, part: Part) -> Path:
    """Where a part's lock is."""
    return root / f"{form.LOCK}-{part.name}"


def read_records(root: Path) -> list[PartRecord]:
    """The records of a cache's parts, by number. Raises CacheError for a damaged one."""
    found = []
    for path in stored_files(root, PARTS, ".json"):
        if match := _FILE.fullmatch(path.name):
            try:
                record = _record(read_marked(path, "comix-part"))
            except CacheError:
                # A whole extract, or a merge, takes the records away when it has done what they lack.
                if path.exists() or path.is_symlink():
                    raise
                continue
            if record is None or (record.part.number, record.part.of) != (int(match[1]), int(match[2])):
                raise CacheError(f"{path} is not the record of that part", hint="delete it and run that part again")
            found.append(record)
    return sorted(found, key=lambda record: (record.part.of, record.part.number))


def _record(value: dict[str, Any]) -> PartRecord | None:
    """From its JSON; None if it is not one."""
    number, of, shard_size = (value.get(name) for name in ("part", "of", "shard_size"))
    lists, finished, listed = (value.get(name) for name in ("lists", "finished", "failures"))
    if not (
        is_whole(number, 1, MOST_PARTS) and is_whole(of, number, MOST_PARTS) and is_whole(shard_size, 1, MOST_PARTS)
    ):
        return None
    if not isinstance(lists, str) or not isinstance(finished, bool) or not is_failures(listed):
        return None
    return PartRecord(Part(number, of), Division(of, shard_size, lists), finished, tuple(dict(one) for one in listed))

"""What a check of a cache finds: gathered file by file, counted, and never the end of the check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from comix_fast.errors import ComixError

Remedy = Literal["extract", "part", "copy", "recipe", "remove", "update", "none"]
"""What mends a file: deleting it and running the same extract, or the same part, again; a copy of it; a copy, or that
of the same extract begun elsewhere; taking it out of the folder; a newer comix-fast; nothing need be done."""

KEPT_NAMES = 20


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with one file, or worth knowing of it.

    file: relative to the cache. what: in words. names: the first of the videos, rows or fields concerned; count: how
    many there are.
    """

    file: str
    what: str
    names: tuple[str, ...] = ()
    count: int = 0
    remedy: Remedy = "none"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "file": self.file,
            "what": self.what,
            "names": list(self.names),
            "count": self.count,
            "remedy": self.remedy,
        }


@dataclass
class Counts:
    """How much was looked at. n_bytes: hashed and checked; clips: candidates, in plain; rows: features of all views;
    invariants: statements checked; unhashed: files of form 1."""

    files: int = 0
    n_bytes: int = 0
    videos: int = 0
    clips: int = 0
    rows: int = 0
    backgrounds: int = 0
    invariants: int = 0
    unhashed: int = 0


@dataclass
class Ledger:
    """Findings, notes and counts, while a cache is being checked."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def require(self, holds: bool, file: str, what: str, names: Iterable[str] = (), remedy: Remedy = "extract") -> bool:
        """One statement about a file; where it doesn't hold, a finding says what is wrong. Returns `holds`."""
        self.counts.invariants += 1
        if not holds:
            self.add(file, what, names, remedy)
        return holds

    def require_each(self, wrong: Iterable[str], of: int, file: str, what: str, remedy: Remedy = "extract") -> None:
        """One statement about each of `of` things; a finding names those of which it is wrong."""
        self.counts.invariants += of
        if names := list(wrong):
            self.add(file, what, names, remedy)

    def add(self, file: str, what: str, names: Iterable[str] = (), remedy: Remedy = "extract") -> None:
        """A finding."""
        listed = list(names)
        self.findings.append(Finding(file, what, tuple(listed[:KEPT_NAMES]), len(listed), remedy))

    def refuse(self, file: str, path: Path, error: ComixError | OSError, remedy: Remedy = "extract") -> None:
        """A finding in the words of the error that reading the file ended with."""
        if isinstance(error, ComixError):
            said, newer = error.message, error.hint.startswith("update")
        else:
            said, newer = f"it can't be read: {error.strerror or error}", False
        for full, short in ((f"{path}: ", ""), (f"{path}, ", ""), (f"{path}:/", "/"), (str(path), "it")):
            said = said.replace(full, short)
        self.add(file, said, remedy="update" if newer else remedy)

    def note(self, file: str, what: str, names: Iterable[str] = ()) -> None:
        """Something worth knowing that is not wrong."""
        listed = list(names)
        self.notes.append(Finding(file, what, tuple(listed[:KEPT_NAMES]), len(listed)))


@dataclass(frozen=True)
class Verified:
    """What a check of a cache found."""

    cache: Path
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    counts: Counts
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

"""Errors a user can act on. The command line prints them without a traceback and exits with 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHOWN = 5


class ComixError(Exception):
    """What went wrong, where, and the way out.

    message: one line, naming the file or option and what was found.
    details: lines printed indented below it (the first few offenders, what was expected).
    hint: one line that says what to do.
    """

    def __init__(self, message: str, details: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message, *(f"  {line}" for line in self.details)]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)


class DatasetError(ComixError):
    """A dataset's files or lists do not fit together."""


class VideoError(ComixError):
    """One video can't be read; the others can."""


class WeightsError(ComixError):
    """A weights file is absent, foreign or does not fit the network."""


class CacheError(ComixError):
    """A feature cache is absent, damaged, of another recipe or of a newer form."""


class RunError(ComixError):
    """A run folder is absent, damaged or of another recipe."""


class OutOfTime(ComixError):  # noqa: N818 - nothing went wrong
    """The time given is over. Nothing is wrong: what is done is saved, and the same command goes on from there.

    command: what to type to go on, where there is something shorter.
    """

    def __init__(self, command: str = "") -> None:
        hint = f"go on with: {command}" if command else "the same command goes on from there"
        super().__init__("the time given is over; what is done is saved", hint=hint)


class ShapeError(ComixError, ValueError):
    """A tensor's shape does not fit; the message gives both shapes."""


def first_few(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first few names in one line, and how many more there are."""
    listed = list(names)
    text = ", ".join(listed[:shown])
    return text if len(listed) <= shown else f"{text}, … and {len(listed) - shown:,} more"

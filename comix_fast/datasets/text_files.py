"""Text files from outside, read line by line: what is no text, no file or without end is refused, not read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from comix_fast.errors import DatasetError
from comix_fast.printable import printable

LONGEST_LINE = 2**16
"""Characters of a line, some fifteen times the longest path that a file system takes."""


def read_lines(path: Path, most: int | None = None) -> Iterator[str]:
    """The lines of a UTF-8 text file, each with its end as written; a byte order mark is passed over.

    most: characters in the whole file, None for any number. No more than a line is held at a time.
    Raises DatasetError if it can't be read, is no plain file, is no UTF-8, or has a longer line or more characters.
    """
    with _text_errors(path), _opened(path) as file:
        number, n_read = 0, 0
        while line := file.readline(LONGEST_LINE + 1):
            number, n_read = number + 1, n_read + len(line)
            if len(line) > LONGEST_LINE:
                raise DatasetError(
                    f"line {number:,} of {shown(path)} is longer than {LONGEST_LINE:,} characters",
                    hint="break it up; no path is as long",
                )
            if most is not None and n_read > most:
                raise DatasetError(f"{shown(path)} is longer than the {most:,} characters that such a file may have")
            yield line


def shown(path: Path) -> str:
    """A path as messages give it."""
    return printable(str(path))


@contextlib.contextmanager
def _text_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{shown(path)} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{shown(path)} is not UTF-8 text: {error.reason} at byte {error.start:,}") from error


def _opened(path: Path) -> TextIO:
    # A pipe would be waited on for ever, a device need not end.
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DatasetError(f"{shown(path)} can't be read: it is a pipe or a device, not a file")
    return path.open(encoding="utf-8-sig", newline="")

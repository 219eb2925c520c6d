"""How often each video has ended its worker: kept in files, since whoever knew it is dead.

A folder of its own for each run, so that a run that was itself killed blames nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

MOST_TRIES = 3


class Attempts:
    """The attempts of one run of a coordinator, shared by its workers, on any machine that sees the folder."""

    def __init__(self, folder: Path) -> None:
        """folder: made by the coordinator, empty."""
        self._folder = folder

    @contextlib.contextmanager
    def watching(self, video: str) -> Iterator[None]:
        """Around the decode of a video: the mark that it leaves is removed unless the process dies meanwhile.

        A mark that was there already stays counted until the decode has ended well.
        """
        mark = self._mark(video)
        with mark.open("ab", buffering=0) as file:
            file.write(b".")
        yield
        mark.unlink(missing_ok=True)

    def tries(self, video: str) -> int:
        """How many workers have died while they decoded this video, since a decode of it last ended."""
        try:
            return self._mark(video).stat().st_size
        except FileNotFoundError:
            return 0

    def _mark(self, video: str) -> Path:
        # Names from data are never paths.
        return self._folder / hashlib.sha256(video.encode()).hexdigest()[:32]

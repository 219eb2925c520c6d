"""How often each video has ended its worker: kept in files, since whoever knew it is dead.

A folder of its own for each run, so that a run that was itself killed blames nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from comix_fast.cache.parts import Part
from comix_fast.cache.writer import CacheWriter
from comix_fast.errors import VideoError
from comix_fast.stages.blocks import Block
from comix_fast.stages.pipeline_channel import Closed
from comix_fast.stages.survey import Failure, failure

MOST_TRIES = 3
FOLDER = ".attempts-"


@dataclass(frozen=True)
class Orders:
    """How a block is to be done. given_up: its videos that are not to be touched, with the reason.

    one_at_a_time: it has ended a worker before, so let there be no doubt which video does it the next time.
    """

    one_at_a_time: bool
    given_up: Mapping[str, Failure]

    def hopeless(self, block: Block) -> bool:
        """Whether nothing of the block is left to be done."""
        return all(video.id in self.given_up for video in block.videos)


FIRST_TIME = Orders(False, MappingProxyType({}))
"""A block that nobody has tried yet."""


class Attempts:
    """The attempts of one run of a coordinator, shared by its workers, on any machine that sees the folder."""

    def __init__(self, folder: Path) -> None:
        """folder: made by the coordinator, empty."""
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def of(cls, cache: CacheWriter) -> Iterator[Attempts]:
        """Those of a run whose coordinator holds the cache's lock; gone when the block ends.

        Those of runs that are gone are swept: had they an owner, it would hold the lock.
        """
        named = FOLDER if cache.part is None else _of_part(cache.part)
        for leftover in cache.root.glob(f"{named}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=named, dir=cache.root))
        try:
            yield cls(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def begin(self, block: Block, last: str = "") -> Orders:
        """Counts one more attempt at a block, and says how to go about it.

        A video is given up that has ended its worker three times; and so are all videos of a block that has ended its
        worker three times more than its videos account for: too little memory, or a machine that fails.
        last: how its last worker ended, for people; where that is not known, what it has said itself is taken.
        """
        n_deaths = _size(self._mark(block))
        _add(self._mark(block))
        if not n_deaths:
            return FIRST_TIME
        tries = {video.id: self.tries(video.id) for video in block.videos}
        unexplained = n_deaths - sum(tries.values())
        last = last or self._words(block)
        why = f" ({last})" if last else ""
        given_up: dict[str, Failure] = {}
        for video in block.videos:
            if tries[video.id] >= MOST_TRIES:
                given_up[video.id] = failure(video, VideoError(f"ended its worker {tries[video.id]} times{why}"))
            elif unexplained >= MOST_TRIES:
                reason = f"its block of {len(block.videos)} videos ended its worker {n_deaths} times{why}, not it alone"
                given_up[video.id] = failure(video, VideoError(reason))
        return Orders(True, given_up)

    def say(self, block: Block, words: str) -> None:
        """Leaves word of why the worker of a block is about to end, where its coordinator can't see how it does."""
        self._mark(block, "words").write_text(words, encoding="utf-8", errors="backslashreplace")

    def _words(self, block: Block) -> str:
        try:
            return self._mark(block, "words").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def end(self, block: Block) -> None:
        """A block has been done: its attempts are forgotten, but not those of videos that were given up."""
        self._mark(block).unlink(missing_ok=True)

    @contextlib.contextmanager
    def watching(self, video: str) -> Iterator[None]:
        """Around the decode of a video: the mark that it leaves is removed unless it ends the process.

        An error that nobody expects of a video ends the process, too. A mark that was there already stays counted
        until a decode of the video has ended.
        """
        mark = self._mark(video)
        _add(mark)
        try:
            yield
        except (VideoError, Closed, GeneratorExit):
            mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)

    def tries(self, video: str) -> int:
        """How many workers have died while they decoded this video, since a decode of it last ended.

        While somebody decodes it, one more.
        """
        return _size(self._mark(video))

    def _mark(self, what: str | Block, of_block: str = "block") -> Path:
        # Names from data are never paths.
        kind, name = ("video", what) if isinstance(what, str) else (of_block, _name(what))
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        return self.folder / f"{kind}-{digest[:32]}"


def _name(block: Block) -> str:
    # Numbers come again: in surveys, in features and among donors.
    return "\0".join(video.id for video in block.videos)


def _of_part(part: Part) -> str:
    return f"{FOLDER}part-{part.name}-"


def _add(mark: Path) -> None:
    with mark.open("ab", buffering=0) as file:
        file.write(b".")


def _size(mark: Path) -> int:
    try:
        # Opened, since NFS may tell of a size of a while ago otherwise.
        with mark.open("rb") as file:
            return os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return 0

"""Where faults are tried: videos, caches of undisturbed runs, and the questions asked of a cache after a fault."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import films
from running import Ended, Impossible, Lost, Running, Wrong, Zygote

from comix_fast.cache import FeatureCache
from comix_fast.errors import CacheError

HDF5_FOLDERS = ("shards", "surveys")
JSON_FILES = ("manifest.json", "dataset.json", "failures.json")
OPTIONS = ("--views", "plain,bgmix", "--shard-size", "2", "--precision", "fp32", "--device", "cpu", "--quiet")
TYPED_HERE = "/proc/self/cwd"
BROKEN_VIDEO = 1
"""The exit code of an extract of these videos: done, but one can't be read."""


def words_of(lists: str, cache: Path) -> list[str]:
    """The extract of two folders of the films, "ab" or "ac", as typed in theirs; "ab2": with two mixes, not one.

    The videos' paths are written into failures.json; so they are the same wherever a room has its films.
    """
    source, target, mixes = f"{TYPED_HERE}/{lists[0]}", f"{TYPED_HERE}/{lists[1]}", lists[2:] or "1"
    return ["extract", "--source", source, "--target", target, "--out", str(cache), "--mixes", mixes, *OPTIONS]


@dataclass(frozen=True)
class Reference:
    """An undisturbed cache. files: sha256 by relative path. seconds: it took. ops: operations on files, in order."""

    path: Path
    files: Mapping[str, str]
    seconds: float
    ops: tuple[str, ...]


@dataclass
class Room:
    """Where one trial takes place. films: the videos' folder; cache: the cache; seen: the same, as the harness sees it.

    held: finished files and videos that were there at the last look.
    """

    path: Path
    films: Path
    cache: Path
    seen: Path
    zygote: Zygote
    held: frozenset[str] = frozenset()


class Workshop:
    """Videos, zygotes and references, made once, for all trials; used in a `with`."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="comix-faults-"))
        self.films = films.draw_all(self.path / "films")
        self.zygote = Zygote(self.path / "said")
        self._mounting: Zygote | Impossible | None = None
        self._references: dict[str, Reference] = {}
        self.making = threading.RLock()
        self._sabotage = ""

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self.zygote.close()
        if isinstance(self._mounting, Zygote):
            self._mounting.close()
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.contextmanager
    def sabotaged(self, mistake: str) -> Iterator[None]:
        """While the block runs, commands in rooms have a mistake of child.broken; references are as they were."""
        self.reference()
        self._sabotage = mistake
        yield
        self._sabotage = ""

    @property
    def mounting(self) -> Zygote:
        """A zygote that may mount. Raises Impossible."""
        with self.making:
            if self._mounting is None:
                try:
                    self._mounting = Zygote(self.path / "said-mounting", mounting=True)
                except Impossible as why:
                    self._mounting = why
        if isinstance(self._mounting, Impossible):
            raise self._mounting
        return self._mounting

    @contextlib.contextmanager
    def room(self, *, own_films: bool = False, mounted: str = "") -> Iterator[Room]:
        """A folder for one trial. own_films: a copy of the videos, to be spoilt. mounted: a tmpfs of these options
        holds the cache."""
        path = Path(tempfile.mkdtemp(prefix="room-", dir=self.path))
        here = shutil.copytree(self.films, path / "films") if own_films else self.films
        zygote, cache = self.zygote, path / "cache"
        if mounted:
            zygote, cache = self.mounting, path / "disk" / "cache"
            cache.parent.mkdir()
            zygote.system("mount", "-t", "tmpfs", "-o", mounted, "comix-faults", cache.parent)
        try:
            yield Room(path, here, cache, zygote.root / cache.relative_to("/"), zygote)
        finally:
            if mounted:
                with contextlib.suppress(Impossible):
                    zygote.system("umount", "-l", cache.parent)
            shutil.rmtree(path, ignore_errors=True)

    def reference(self, order: str = "ab") -> Reference:
        """The cache of undisturbed extracts one after another, "ab" or "ab,ac"."""
        with self.making:
            if order not in self._references:
                cache, ops = self.path / f"reference-{order}", self.path / f"ops-{order}"
                began = time.monotonic()
                for lists in order.split(","):
                    running = self.zygote.start(words_of(lists, cache), self.films, ops=str(ops), brief=True)
                    running.wait().require(0, BROKEN_VIDEO)
                seconds = time.monotonic() - began
                self._references[order] = Reference(cache, tree(cache), seconds, tuple(ops.read_text().splitlines()))
            return self._references[order]

    def start(self, room: Room, words: list[str] | None = None, **faults: Any) -> Running:
        """Starts a command in a room; by default the extract of its cache. faults: as child.Request has them."""
        if self._sabotage:
            faults.setdefault("sabotage", self._sabotage)
        # HDF5 has something to say at the very end, after errors of files.
        natural = "limits" in faults or faults.get("act") == "raise" or room.zygote is not self.zygote
        faults.setdefault("brief", not natural)
        return room.zygote.start(words or words_of("ab", room.cache), room.films, **faults)

    def comix(self, room: Room, *words: object, **faults: Any) -> Ended:
        """Runs a command in a room, to its end."""
        return self.start(room, [str(word) for word in words], **faults).wait()

    def look(self, room: Room, *orders: str) -> None:
        """What there is after a fault must be right, and no less than at the last look. Raises Wrong, Lost.

        orders: the references that it may come to be.
        """
        references = [self.reference(order) for order in orders or ("ab",)]
        held = set()
        for path in sorted(room.seen.rglob("*")) if room.seen.exists() else ():
            name = str(path.relative_to(room.seen))
            if path.is_dir() or path.name.startswith("."):
                continue
            require_own(room, name, path, references)
            if path.parent.name in HDF5_FOLDERS:
                held.add(name)
        if (room.seen / "manifest.json").exists() and (room.seen / "dataset.json").exists():
            held |= {f"video {video}" for video in require_features(room.seen, references)}
        else:
            require_refused(room.seen)
        if gone := room.held - held:
            raise Lost(f"{len(gone)} finished files or videos are gone: {sorted(gone)[:3]}")
        room.held = frozenset(held)

    def finish(self, room: Room, *orders: str, lists: str = "ab", **faults: Any) -> None:
        """The same command again must end well, as if nothing had happened. Raises Wrong, Lost."""
        ended = self.start(room, words_of(lists, room.cache), **faults).wait()
        ended.require(BROKEN_VIDEO)
        self.look(room, *orders)
        self.require_same(room, *orders)

    def require_same(self, room: Room, *orders: str) -> None:
        """Raises Wrong unless every file is that of one of the references, byte by byte, and none is left over."""
        found = tree(room.seen)
        wanted = [self.reference(order).files for order in orders or ("ab",)]
        if found not in wanted:
            raise Wrong(f"the cache is not that of an undisturbed run: {differences(found, wanted[0])}")


def tree(cache: Path) -> dict[str, str]:
    """sha256 by relative path of every file of a folder; empty folders have their name alone."""
    found = {}
    for path in sorted(cache.rglob("*")):
        name = str(path.relative_to(cache))
        if not path.is_dir():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not any(path.iterdir()):
            found[name] = ""
    return found


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Which files are missing, which are too many, which differ."""
    several = {
        "missing": sorted(wanted.keys() - found.keys()),
        "left over": sorted(found.keys() - wanted.keys()),
        "different": sorted(name for name in found.keys() & wanted.keys() if found[name] != wanted[name]),
    }
    return "; ".join(f"{what} {', '.join(names[:3])}" for what, names in several.items() if names)


def require_own(room: Room, name: str, path: Path, references: list[Reference]) -> None:
    """Raises Wrong unless a file is that of a reference."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    allowed = {reference.files.get(name) for reference in references}
    if hashlib.sha256(content).hexdigest() in allowed:
        return
    if name in JSON_FILES and room.films.parent == room.path:
        return
    raise Wrong(f"{name} is not that of an undisturbed run ({len(content):,} bytes)")


def require_features(cache: Path, references: list[Reference]) -> frozenset[str]:
    """The videos of a cache that must open. Raises Wrong if it doesn't, or has features that differ."""
    try:
        opened = FeatureCache(cache)
        whole = [FeatureCache(reference.path) for reference in references]
        for video in opened.extracted:
            views = opened.views(video)
            ours = [opened.features(video, view).tobytes() for view in views]
            known = [one for one in whole if video in one.extracted and one.views(video) == views]
            if ours not in [[one.features(video, view).tobytes() for view in views] for one in known]:
                raise Wrong(f"the features of {video} differ")
    except CacheError as error:
        raise Wrong(f"the cache does not open: {error}") from error
    return opened.extracted


def require_refused(cache: Path) -> None:
    """Raises Wrong unless what is no cache yet is refused in our words."""
    try:
        FeatureCache(cache)
    except CacheError as error:
        if "holds no feature cache" in error.message:
            return
        raise Wrong(f"a cache that has only begun is refused so: {error}") from error
    raise Wrong("a cache without its lists opens")


def moment(chance: random.Random, longest: float) -> float:
    """A delay in seconds, any up to `longest`, one in five tiny."""
    return chance.uniform(0, 0.01) if chance.random() < 0.2 else chance.uniform(0, longest)


def pause_until(begun: float, seconds: float) -> None:
    """Sleeps until so many seconds after a moment of time.monotonic()."""
    time.sleep(max(0.0, begun + seconds - time.monotonic()))


SIGNAL_CODES = {signal.SIGKILL: (-9,), signal.SIGTERM: (-15,), signal.SIGINT: (130,)}

"""Company: several commands on one cache at the same moment."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from running import Ended, Running, Wrong
from workshop import BROKEN_VIDEO, Room, Workshop, pause_until, words_of

from comix_fast.cache import FeatureCache
from comix_fast.errors import CacheError

BUSY = "another process is writing"
OTHER_RECIPE = "made by another recipe"
TRAIN = ("--warmstart-iterations", "1", "--iterations", "1", "--eval-every", "1", "--seeds", "1", "--quiet")


def two_writers(shop: Workshop, chance: random.Random, number: int) -> str:
    """The same extract twice, together or a little apart; by turns the first is killed while the second tries."""
    with shop.room() as room:
        killed = number % 3 == 2
        first, second = started_apart(shop, chance, room, "ab", "ab")
        if killed:
            pause_until(second.began, chance.uniform(0, shop.reference().seconds))
            first.kill(signal.SIGKILL)
        refused = count_refused((first.wait(), second.wait()), BUSY, killed=killed)
        shop.look(room)
        if not killed:
            shop.require_same(room)
        shop.finish(room)
        return f"{refused} refused{', the first killed' if killed else ''}"


def two_recipes(shop: Workshop, chance: random.Random, number: int) -> str:
    """Two extracts that ask for different views: one must be refused, whoever comes first."""
    with shop.room() as room:
        ends = [one.wait() for one in started_apart(shop, chance, room, *chance.sample(("ab", "ab2"), 2))]
        if count_refused(ends, BUSY, OTHER_RECIPE) != 1:
            raise Wrong("both recipes went into one cache")
        shop.look(room, "ab", "ab2")
        shop.require_same(room, "ab", "ab2")
        return "1 refused"


def two_lists(shop: Workshop, chance: random.Random, number: int) -> str:
    """Two extracts of different lists: one after the other they share a cache, at once one is refused."""
    with shop.room() as room:
        ends = [one.wait() for one in started_apart(shop, chance, room, *chance.sample(("ab", "ac"), 2))]
        refused = count_refused(ends, BUSY)
        orders = ("ab", "ac") if refused else ("ab,ac", "ac,ab")
        shop.look(room, *orders)
        shop.require_same(room, *orders)
        return f"{refused} refused"


def started_apart(
    shop: Workshop, chance: random.Random, room: Room, lists: str, others: str
) -> tuple[Running, Running]:
    """Two extracts, from none to a whole extract apart."""
    first = shop.start(room, words_of(lists, room.cache), pace=chance.choice((0, 0.002)))
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 1.2 * shop.reference().seconds))
    return first, shop.start(room, words_of(others, room.cache), pace=chance.choice((0, 0.002)))


def count_refused(ends: tuple[Ended, ...] | list[Ended], *reasons: str, killed: bool = False) -> int:
    """How many were refused, for one of the reasons. Raises Wrong if all were, or for another reason."""
    refused = 0
    for ended in ends:
        ended.require(BROKEN_VIDEO, 2, *((-signal.SIGKILL,) if killed else ()))
        if ended.code == 2 and not any(reason in ended.err for reason in reasons):
            raise Wrong(f"refused for another reason: {ended.said}")
        refused += ended.code == 2
    if refused == len(ends):
        raise Wrong("each refused because of the other")
    return refused


def readers(shop: Workshop, chance: random.Random, number: int) -> str:
    """A cache is opened over and over, shown and adapted on while it is made, by turns killed and resumed."""
    with shop.room() as room:
        stop = room.path / "stop"
        reader = shop.start(room, [str(room.cache), str(stop)], program="read")
        writer = shop.start(room, pace=0.003)
        deadline = writer.began + chance.uniform(0.2, 2)
        while time.monotonic() < deadline and writer.join(0) is None:
            shop.comix(room, "cache", "info", room.cache).require(0, 2)
        shop.comix(room, "adapt", "--from-cache", room.cache, "--runs", room.path / "runs", *TRAIN).require(0, 2)
        if number % 2:
            writer.kill(signal.SIGKILL)
        writer.wait().require(BROKEN_VIDEO, -signal.SIGKILL)
        shop.look(room)
        shop.finish(room)
        stop.touch()
        opened, refused = map(int, reader.wait().require(0).out.split())
        if not opened + refused:
            raise Wrong("the reader has not read")
        return "opened while it was made" if opened else "never opened"


def copied(shop: Workshop, chance: random.Random, number: int) -> str:
    """A cache is copied with cp -r while it is made: the copy opens or says why not, and the same command mends it."""
    with shop.room() as room:
        running = shop.start(room, pace=chance.choice((0.002, 0.004))).past_start()
        pause_until(running.began, chance.uniform(0, 2 * shop.reference().seconds))
        copy = room.path / "copy"
        # Files that vanish while they are copied are cp's to complain about.
        subprocess.run(["cp", "-r", str(room.cache), str(copy)], capture_output=True, check=False)
        running.wait().require(BROKEN_VIDEO)
        shop.look(room)
        shop.require_same(room)
        theirs = Room(room.path, room.films, copy, copy, room.zygote)
        if not copy.exists():
            return "nothing to copy yet"
        said = opens(copy)
        ended = shop.start(theirs).wait().require(BROKEN_VIDEO, 2)
        if ended.code == 2:
            # What cp has left half copied is named, and deleting it is the way out.
            follow_advice(shop, theirs, ended)
        shop.look(theirs)
        shop.require_same(theirs)
        return said


def opens(cache: Path) -> str:
    """Whether a cache opens; all errors but ours are for the traceback."""
    try:
        FeatureCache(cache)
    except CacheError:
        return "the copy says why it does not open"
    return "the copy opens"


def follow_advice(shop: Workshop, room: Room, ended: Ended, tries: int = 20) -> int:
    """Deletes the files that an error names, as it says, until the same command ends well. Returns how many."""
    for deleted in range(tries):
        if ended.code != 2:
            return deleted
        named = [path for path in room.seen.rglob("*") if path.is_file() and str(path.name) in ended.err]
        if not named:
            raise Wrong(f"the error names no file of the cache: {ended.said}")
        if "delete" not in ended.err:
            raise Wrong(f"the error names {named[0].name} and no way out: {ended.said}")
        named[0].unlink()
        room.held = frozenset()
        ended = shop.start(room).wait().require(BROKEN_VIDEO, 2)
    raise Wrong(f"no end of errors: {ended.said}")


def moved(shop: Workshop, chance: random.Random, number: int) -> str:
    """The cache is moved between a kill and the resume, by turns to a place with an odd name, or behind a link."""
    with shop.room() as room:
        at = chance.randint(2, len(shop.reference().ops))
        shop.start(room, at=at, act="kill").wait().require(-signal.SIGKILL)
        name = ("elsewhere", "ein neuer Ort\n[bold]x", "link")[number % 3]
        place = room.path / name
        if name == "link":
            room.cache.rename(room.path / "behind")
            place.symlink_to(room.path / "behind")
        else:
            shutil.move(room.cache, place)
        shop.finish(Room(room.path, room.films, place, place, room.zygote))
        return ("to another name", "to an odd name", "behind a link")[number % 3]

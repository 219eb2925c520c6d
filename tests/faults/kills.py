"""Kills: by each signal, at random moments and at any operation on files, once and in chains; real processes too."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from layer import SIGNALS
from running import Ended, Lost, Running, Wrong, start_real
from workshop import BROKEN_VIDEO, SIGNAL_CODES, Room, Workshop, differences, moment, pause_until, tree

PACES = (0.0, 0.001, 0.004)
LINKS = 12
"""Kills in one chain, at most."""
ACTS = {number: act for act, number in SIGNALS.items()}
REAL_VIDEOS = ("a/go/4.mp4", "a/stop/1.mp4", "b/go/4.mp4", "b/stop/1.mp4")


def sigkill(shop: Workshop, chance: random.Random, number: int) -> str:
    """Killed, then the same command."""
    return one_kill(shop, chance, number, signal.SIGKILL)


def sigterm(shop: Workshop, chance: random.Random, number: int) -> str:
    """Terminated, then the same command."""
    return one_kill(shop, chance, number, signal.SIGTERM)


def ctrl_c(shop: Workshop, chance: random.Random, number: int) -> str:
    """Interrupted, then the same command."""
    return one_kill(shop, chance, number, signal.SIGINT)


def one_kill(shop: Workshop, chance: random.Random, number: int, which: signal.Signals) -> str:
    """By turns from outside at a random moment, at an operation, and from outside when a file has just been begun."""
    with shop.room() as room:
        way = (at_a_moment, at_an_operation, at_a_partial_file)[number % 3]
        struck = way(shop, room, chance, which)
        shop.look(room)
        shop.finish(room)
        return struck


def ended_by(ended: Ended, which: signal.Signals, mark: str) -> str:
    """Where the signal struck: `mark`, or "too late". Raises Wrong for other endings than the signal's and its own."""
    ended.require(BROKEN_VIDEO, *SIGNAL_CODES[which])
    if ended.code == 130 and "interrupted" not in ended.err:
        raise Wrong(f"Ctrl-C says nothing: {ended.said}")
    return "too late" if ended.code == BROKEN_VIDEO else mark


def at_a_moment(shop: Workshop, room: Room, chance: random.Random, which: signal.Signals) -> str:
    pace = chance.choice(PACES)
    longest = 1.1 * shop.reference().seconds + 1.5 * pace * len(shop.reference().ops)
    running = shop.start(room, pace=pace).past_start()
    pause_until(running.began, moment(chance, longest))
    mark = running.kill(which)
    return ended_by(running.wait(), which, mark)


def at_an_operation(shop: Workshop, room: Room, chance: random.Random, which: signal.Signals) -> str:
    at = chance.randint(1, len(shop.reference().ops))
    running = shop.start(room, at=at, act=ACTS[which], half=chance.random() < 0.5)
    return ended_by(running.wait(), which, shop.reference().ops[at - 1])


def at_a_partial_file(shop: Workshop, room: Room, chance: random.Random, which: signal.Signals) -> str:
    """As soon as the n-th temporary file is there, or a little later: while HDF5 writes, too."""
    running = shop.start(room, pace=chance.choice(PACES)).past_start()
    see_partial_files(room, running, chance.randint(1, 16))
    time.sleep(chance.choice((0, 0, 0.0005, 0.002, 0.005)))
    mark = running.kill(which)
    return ended_by(running.wait(), which, mark)


def see_partial_files(room: Room, running: Running, count: int) -> None:
    """Waits until so many temporary files have been seen, or the command has ended."""
    seen: set[Path] = set()
    while len(seen) < count and running.join(0) is None:
        for folder in (room.seen, room.seen / "shards", room.seen / "surveys"):
            seen.update(folder.glob(".*.partial"))
        time.sleep(0.0002)


def chain(shop: Workshop, chance: random.Random, number: int) -> str:
    """Killed, and killed again during each resume, after delays that are tiny, growing or at random operations."""
    with shop.room() as room:
        kills = 0
        for link in range(LINKS):
            which = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            if chance.random() < 0.4:
                running = shop.start(room, at=chance.randint(1, 40), act=ACTS[which])
                mark = "an operation"
            else:
                running = shop.start(room, pace=chance.choice(PACES)).past_start()
                pause_until(running.began, 0.002 * 1.7**link if number % 2 else moment(chance, 0.4))
                mark = running.kill(which)
            struck = ended_by(running.wait(), which, mark)
            shop.look(room)
            if struck == "too late":
                break
            kills += 1
        shop.finish(room)
        return f"{kills} kills"


def group(shop: Workshop, chance: random.Random, number: int) -> str:
    """The whole process group is killed: an extract and a reader of the same cache."""
    with shop.room() as room:
        running = shop.start(room, pace=chance.choice(PACES)).past_start()
        reader = shop.start(room, [str(room.cache), str(room.path / "stop")], program="read", group=running.pid)
        pause_until(running.began, moment(chance, shop.reference().seconds))
        which = chance.choice((signal.SIGKILL, signal.SIGTERM))
        mark = running.kill(which, group=True)
        struck = ended_by(running.wait(), which, mark)
        (room.path / "stop").touch()
        reader.wait().require(0, -which)
        shop.look(room)
        shop.finish(room)
        return struck


def real(shop: Workshop, chance: random.Random, number: int) -> str:
    """`comix extract` as a shell starts it, with a real network of random weights; its group is killed twice."""
    films = real_films(shop)
    whole = real_reference(shop, films)
    with shop.room() as room:
        struck = []
        before: frozenset[str] = frozenset()
        for _ in range(2):
            which = chance.choice(tuple(SIGNAL_CODES))
            running = start_real(real_words(room.cache), films, shop.path / "said-real")
            pause_until(running.began, chance.uniform(0, whole[1]))
            running.kill(which, group=chance.random() < 0.5)
            running.wait().require(0, *SIGNAL_CODES[which])
            now = tree(room.cache) if room.cache.exists() else {}
            finished = frozenset(name for name in now if name.endswith(".h5"))
            if wrong := [name for name in finished if now[name] != whole[0].get(name)]:
                raise Wrong(f"{wrong[0]} is not that of an undisturbed run")
            if not before <= finished:
                raise Lost(f"{sorted(before - finished)[0]} is gone")
            before = finished
            struck.append("start" if not now else f"{len(finished)} files finished")
        start_real(real_words(room.cache), films, shop.path / "said-real").wait().require(0)
        if tree(room.cache) != whole[0]:
            raise Wrong(f"the cache is not that of an undisturbed run: {differences(tree(room.cache), whole[0])}")
        return ", ".join(struck)


def real_words(cache: Path) -> list[str]:
    """An extract by the smallest network there is."""
    words = "extract --source a --target b --backbone r3d_18 --weights random --precision fp32 --no-compile"
    return [*words.split(), "--views", "plain", "--shard-size", "1", "--device", "cpu", "--quiet", "--out", str(cache)]


def real_films(shop: Workshop) -> Path:
    """The shortest of the videos: a dozen seconds of one core."""
    with shop.making:
        folder = shop.path / "real-films"
        if not folder.exists():
            for name in REAL_VIDEOS:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((shop.films / name).read_bytes())
        return folder


def real_reference(shop: Workshop, films: Path) -> tuple[dict[str, str], float]:
    """The files of an undisturbed real run, and how long it took."""
    with shop.making:
        cache, seconds = shop.path / "real-reference", shop.path / "real-seconds"
        if not seconds.exists():
            began = time.monotonic()
            start_real(real_words(cache), films, shop.path / "said-real").wait().require(0)
            seconds.write_text(str(time.monotonic() - began))
        return tree(cache), float(seconds.read_text())

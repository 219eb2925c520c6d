"""Disks: full, failing, and not to be written to."""

from __future__ import annotations

import os
import random

from running import Ended, Impossible, Wrong
from workshop import BROKEN_VIDEO, Room, Workshop

PAGE = 4096
ERRORS = ("ENOSPC", "EIO", "EDQUOT")
ROOMY = "size=64m,mode=700"
TRAIN = ("--warmstart-iterations", "2", "--iterations", "2", "--eval-every", "2", "--seeds", "1", "--quiet")


def require_plain_words(ended: Ended, *more: int) -> str:
    """Exit code 2 with a reason, or `more`, where the fault was no obstacle."""
    ended.require(2, *more)
    return "refused" if ended.code == 2 else "done all the same"


def n_operations(shop: Workshop) -> int:
    """Trials that strike each operation once with each error."""
    return len(ERRORS) * len(shop.reference().ops)


def failing(shop: Workshop, chance: random.Random, number: int) -> str:
    """The n-th operation on files fails, for every n: half written where it is a write; on and off, or from then on."""
    ops = shop.reference().ops
    # Shuffled, so that the first few trials are of all places.
    at = random.Random(len(ops)).sample(range(1, len(ops) + 1), len(ops))[number // len(ERRORS) % len(ops)]
    with shop.room() as room:
        ended = shop.start(
            room,
            at=at,
            act="raise",
            error=ERRORS[number % len(ERRORS)],
            half=chance.random() < 0.5,
            lasting=chance.random() < 0.5,
        ).wait()
        # Sweeping up after a shard is in place may fail without harm.
        require_plain_words(ended, BROKEN_VIDEO)
        shop.look(room)
        shop.finish(room)
        return ops[at - 1]


def size_limit(shop: Workshop, chance: random.Random, number: int) -> str:
    """No file may be longer than so many bytes (RLIMIT_FSIZE), one in three times twice in a row."""
    sizes = sorted({path.stat().st_size for path in shop.reference().path.rglob("*") if path.is_file()})
    with shop.room() as room:
        for _ in range(2 if number % 3 == 0 else 1):
            longest = chance.choice((0, chance.randint(0, sizes[-1]), chance.choice(sizes) - 1))
            said = require_plain_words(shop.start(room, limits={"size": max(0, longest)}).wait(), BROKEN_VIDEO)
            shop.look(room)
        shop.finish(room)
        return said


def full(shop: Workshop, chance: random.Random, number: int) -> str:
    """A disk with room for so many pages, or so many files, then with more room."""
    pages = sum(-(-path.stat().st_size // PAGE) for path in shop.reference().path.rglob("*") if path.is_file())
    few = number % 4 == 0
    bound = f"nr_inodes={chance.randint(3, 22)}" if few else f"size={PAGE * chance.randint(1, pages + 2)}"
    with shop.room(mounted=f"{bound},mode=700") as room:
        said = require_plain_words(shop.start(room).wait(), BROKEN_VIDEO)
        shop.look(room)
        # A second try on a disk that is still full must do no harm either.
        require_plain_words(shop.start(room).wait(), BROKEN_VIDEO)
        shop.look(room)
        room.zygote.system("mount", "-o", "remount,size=64m,nr_inodes=10000", room.cache.parent)
        shop.finish(room)
        return f"{said}, {'files' if few else 'pages'}"


def read_only_mount(shop: Workshop, chance: random.Random, number: int) -> str:
    """A disk that is mounted for reading alone: before the first extract, in the middle, and when all is there."""
    state = ("empty", "begun", "whole")[number % 3]
    with shop.room(mounted=ROOMY) as room:
        if state == "begun":
            shop.start(room, at=chance.randint(2, len(shop.reference().ops)), act="kill").wait()
        elif state == "whole":
            shop.finish(room)
        shop.look(room)
        room.zygote.system("mount", "-o", "remount,ro", room.cache.parent)
        require_plain_words(shop.start(room).wait(), *((BROKEN_VIDEO,) if state == "whole" else ()))
        shop.look(room)
        read_all(shop, room, whole=state == "whole")
        room.zygote.system("mount", "-o", "remount,rw", room.cache.parent)
        shop.finish(room)
        return state


def read_only_modes(shop: Workshop, chance: random.Random, number: int) -> str:
    """Folders and files without the right to write, as people leave them; root ignores that."""
    if os.geteuid() == 0:
        raise Impossible("root may write everywhere")
    state = ("empty", "begun", "whole")[number % 3]
    with shop.room() as room:
        room.cache.mkdir()
        if state != "empty":
            at = chance.randint(8, len(shop.reference().ops)) if state == "begun" else 0
            shop.start(room, at=at, act="kill").wait()
        set_modes(room, 0o555, 0o444)
        try:
            require_plain_words(shop.start(room).wait(), *((BROKEN_VIDEO,) if state == "whole" else ()))
            shop.look(room)
            read_all(shop, room, whole=state == "whole")
        finally:
            set_modes(room, 0o755, 0o644)
        shop.finish(room)
        return state


def set_modes(room: Room, folders: int, files: int) -> None:
    """The modes of a whole cache."""
    room.cache.chmod(0o755)
    for path in (*room.cache.rglob("*"), room.cache):
        path.chmod(folders if path.is_dir() else files)


def read_all(shop: Workshop, room: Room, *, whole: bool) -> None:
    """Every command that reads a cache: they must work on a whole one, and say why not on another."""
    codes = (0,) if whole else (0, 2)
    shop.comix(room, "cache", "info", room.cache).require(*codes)
    runs, found = room.path / "runs", room.path / "found.json"
    shop.comix(room, "adapt", "--from-cache", room.cache, "--runs", runs, *TRAIN).require(*codes)
    shop.comix(room, "retrieve", "--from-cache", room.cache, "--out", found, "-k", "1").require(*codes)
    if whole and not (found.exists() and list(runs.rglob("*.json"))):
        raise Wrong("adapt and retrieve have ended well and written nothing")

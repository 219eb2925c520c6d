"""Scarcity: few open files, little memory, no room for temporary files, no home."""

from __future__ import annotations

import random
import signal

from workshop import BROKEN_VIDEO, Room, Workshop

MIB = 2**20


def open_files(shop: Workshop, chance: random.Random, number: int) -> str:
    """No more than so many files may be open (RLIMIT_NOFILE), from three on."""
    return limited(shop, {"files": 3 + number % 24})


def memory(shop: Workshop, chance: random.Random, number: int) -> str:
    """No more than so much memory beyond what importing took (RLIMIT_AS)."""
    # Libraries in C may crash for want of memory before Python hears of it; the cache must be none the worse.
    crash = -signal.SIGSEGV, -signal.SIGABRT
    return limited(shop, {"memory": int(chance.choice((1, 8, 64, 256)) * chance.random() * MIB)}, *crash)


def limited(shop: Workshop, limits: dict[str, int], *more: int) -> str:
    with shop.room() as room:
        ended = shop.start(room, limits=limits).wait().require(BROKEN_VIDEO, 2, *more)
        shop.look(room)
        shop.finish(room)
        return {2: "refused", BROKEN_VIDEO: "done all the same"}.get(ended.code, "a library crashed")


def surroundings(shop: Workshop, chance: random.Random, number: int) -> str:
    """TMPDIR absent or full, HOME absent, a file or read-only."""
    what = SURROUNDINGS[number % len(SURROUNDINGS)]
    mounted = "size=64m,mode=700" if what in ("TMPDIR full", "HOME read-only") else ""
    with shop.room(mounted=mounted) as room:
        ended = shop.start(room, env=spoilt(room, what)).wait().require(BROKEN_VIDEO, 2)
        shop.look(room)
        shop.finish(room)
        return f"{what}: {'refused' if ended.code == 2 else 'done all the same'}"


def spoilt(room: Room, what: str) -> dict[str, str | None]:
    """The variables of such surroundings."""
    nowhere, file = room.path / "nowhere", room.path / "file"
    file.write_text("no folder")
    if what in ("TMPDIR full", "HOME read-only"):
        disk = room.path / "small"
        disk.mkdir()
        room.zygote.system("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2,mode=700", "comix-faults", disk)
        if what == "HOME read-only":
            room.zygote.system("mount", "-o", "remount,ro", disk)
            return {"HOME": str(disk), "XDG_CACHE_HOME": None}
        return {"TMPDIR": str(disk)}
    variable, state = what.split(" ")
    value = {"absent": str(nowhere), "unset": None, "file": str(file)}.get(state)
    return {variable: value}


SURROUNDINGS = (
    "TMPDIR absent",
    "HOME absent",
    "HOME unset",
    "HOME file",
    "TMPDIR full",
    "HOME read-only",
    "COMIX_HOME absent",
)

"""Between a kill and the resume somebody, or the clock, has been at the cache or at the videos."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from company import follow_advice
from films import film
from running import Ended, Lost, Wrong
from workshop import BROKEN_VIDEO, HDF5_FOLDERS, Room, Workshop, differences, tree, words_of

STRAYS = (".DS_Store", "Icon\r", "lost+found/", "Thumbs.db", "notes.txt", "source-0.h5.tmp", "._x", "@eaDir/")
DATES = (0, 4_102_444_800)
"""1970 and 2100."""
CHANGED_WORDS = "were extracted from other files"


def begun(shop: Workshop, chance: random.Random, room: Room) -> None:
    """A cache that was killed on the way: at least its lists are there; one in three times it is whole."""
    n_ops = len(shop.reference().ops)
    at = 0 if chance.random() < 0.34 else chance.randint(n_ops // 6, n_ops)
    shop.start(room, at=at, act="kill").wait().require(BROKEN_VIDEO, -signal.SIGKILL)
    shop.look(room)


def clock(shop: Workshop, chance: random.Random, number: int) -> str:
    """The clock jumps by decades at any look at it, and the dates of all files are of 1970 or 2100 between resumes."""
    with shop.room(own_films=True) as room:
        for _ in range(2):
            at = chance.randint(1, len(shop.reference().ops))
            shop.start(room, clock=chance.randint(0, 9999), at=at, act="kill").wait().require(-signal.SIGKILL, 1)
            shop.look(room)
            for path in (*room.cache.rglob("*"), *room.films.rglob("*")):
                date = chance.choice(DATES)
                os.utime(path, (date, date))
        shop.finish(room, clock=chance.randint(0, 9999))
        return "finished"


def tampered(shop: Workshop, chance: random.Random, number: int) -> str:
    """Files are deleted, emptied, cut or added between a kill and the resume."""
    with shop.room() as room:
        what, act = TAMPERING[number % len(TAMPERING)]
        begun(shop, chance, room)
        spoilt = act(room, chance)
        room.held = frozenset()
        ended = shop.start(room).wait().require(BROKEN_VIDEO, 2)
        if ended.code == 2:
            if spoilt and not any(name in ended.err for name in spoilt):
                raise Wrong(f"{what}: the error names none of {spoilt}: {ended.said}")
            follow_advice(shop, room, ended)
        for stray in STRAYS if what == "stray files" else ():
            for folder in (room.cache, *(room.cache / name for name in HDF5_FOLDERS)):
                path = folder / stray
                shutil.rmtree(path) if stray.endswith("/") else path.unlink()
        shop.finish(room)
        return what


def some(room: Room, chance: random.Random, *folders: str) -> list[Path]:
    """From one to three finished files, none if there are none."""
    files = sorted(path for folder in folders for path in (room.cache / folder).glob("*.h5"))
    return chance.sample(files, min(len(files), chance.randint(1, 3)))


def delete(*folders: str) -> Callable[[Room, random.Random], list[str]]:
    def act(room: Room, chance: random.Random) -> list[str]:
        for path in some(room, chance, *folders):
            path.unlink()
        return []

    return act


def cut(part: float, *folders: str) -> Callable[[Room, random.Random], list[str]]:
    def act(room: Room, chance: random.Random) -> list[str]:
        files = some(room, chance, *folders)
        for path in files:
            os.truncate(path, int(part * path.stat().st_size))
        return [path.name for path in files]

    return act


def add_strays(room: Room, chance: random.Random) -> list[str]:
    for folder in (room.cache, *(room.cache / name for name in HDF5_FOLDERS)):
        for stray in STRAYS:
            folder.mkdir(exist_ok=True)
            (folder / stray).mkdir() if stray.endswith("/") else (folder / stray).write_text("stray")
    return []


def add_apple_double(room: Room, chance: random.Random) -> list[str]:
    """What macOS leaves beside each file of a disk that isn't its own."""
    names = []
    for path in some(room, chance, *HDF5_FOLDERS):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")
        names.append(f"._{path.name}")
    return names


def remove_folders(room: Room, chance: random.Random) -> list[str]:
    for name in HDF5_FOLDERS:
        shutil.rmtree(room.cache / name, ignore_errors=True)
        if chance.random() < 0.5:
            (room.cache / name).mkdir()
    return []


def cut_json(room: Room, chance: random.Random) -> list[str]:
    files = [room.cache / name for name in ("dataset.json", "failures.json") if (room.cache / name).exists()]
    path = chance.choice(files)
    os.truncate(path, path.stat().st_size // 2)
    return [] if path.name == "failures.json" else [path.name]


def manifest(shop: Workshop, chance: random.Random, number: int) -> str:
    """The manifest is cut, emptied or deleted: nothing vouches for the features, so all is refused until it is back."""
    with shop.room() as room:
        begun(shop, chance, room)
        path = room.cache / "manifest.json"
        whole = path.read_bytes()
        spoilt = (whole[: len(whole) // 2], b"", None)[number % 3]
        path.unlink() if spoilt is None else path.write_bytes(spoilt)
        before = tree(room.cache)
        for words in (words_of("ab", room.cache), ["cache", "info", str(room.cache)]):
            shop.comix(room, *words).require(2)
        if tree(room.cache) != before:
            raise Wrong(f"refused, and yet the cache has changed: {differences(tree(room.cache), before)}")
        path.write_bytes(whole)
        shop.finish(room)
        return ("cut in half", "emptied", "deleted")[number % 3]


def delete_lists(room: Room, chance: random.Random) -> list[str]:
    for name in ("dataset.json", "failures.json"):
        (room.cache / name).unlink(missing_ok=True)
    return ["dataset.json"]


def leave_partial_files(room: Room, chance: random.Random) -> list[str]:
    for folder in (room.cache, *(room.cache / name for name in HDF5_FOLDERS)):
        folder.mkdir(exist_ok=True)
        (folder / ".source-0.h5.abc.partial").write_bytes(b"half")
    return []


TAMPERING = (
    ("a shard deleted", delete("shards")),
    ("a survey deleted", delete("surveys")),
    ("shards and surveys deleted", delete(*HDF5_FOLDERS)),
    ("a shard cut in half", cut(0.5, "shards")),
    ("a survey cut in half", cut(0.5, "surveys")),
    ("a shard emptied", cut(0, "shards")),
    ("the last byte gone", cut(0.9999, *HDF5_FOLDERS)),
    ("stray files", add_strays),
    ("macOS's shadow files", add_apple_double),
    ("folders emptied or gone", remove_folders),
    ("a JSON file cut in half", cut_json),
    ("the lists deleted", delete_lists),
    ("others' partial files", leave_partial_files),
)


def videos(shop: Workshop, chance: random.Random, number: int) -> str:
    """Videos vanish, shrink or change between a kill and the resume, then are what they were again."""
    with shop.room(own_films=True) as room:
        what, act = CHANGES[number % len(CHANGES)]
        begun(shop, chance, room)
        name = chance.choice(sorted(str(path.relative_to(room.films)) for path in room.films.glob("[ab]/*/?.mp4")))
        extracted = f"video {name}" in room.held
        path, before = room.films / name, (room.films / name).read_bytes()
        room.held = frozenset(one for one in room.held if one.startswith(("shards", "video")))
        shards = {shard: shard.read_bytes() for shard in (room.seen / "shards").glob("*.h5")}
        act(path)
        ended = shop.start(room).wait().require(BROKEN_VIDEO, 2)
        told = told_of(what, ended, extracted)
        path.write_bytes(before)
        if extracted and what == "vanished":
            # The rest was done while the list was shorter, so donors were drawn from fewer; what there was stays.
            if any(not shard.exists() or shard.read_bytes() != content for shard, content in shards.items()):
                raise Lost("a shard changed when a video that it holds had vanished")
        elif extracted:
            shop.look(room)
            shop.finish(room)
        return told


def told_of(what: str, ended: Ended, extracted: bool) -> str:
    """What the command said of a video, by the rules. Raises Wrong if it should have said something else."""
    state = "had features" if extracted else "had none"
    if what == "vanished" or not extracted:
        if ended.code == 2:
            raise Wrong(f"{what}, {state}, and refused: {ended.said}")
        return f"{what}, {state}: went on"
    if ended.code != 2 or CHANGED_WORDS not in ended.err:
        raise Wrong(f"{what}, {state}, and not noticed: {ended.said}")
    return f"{what}, {state}: refused"


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    film(path, 33, 99)


CHANGES: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("vanished", Path.unlink),
    ("shrunk", shrink),
    ("replaced", replace),
)

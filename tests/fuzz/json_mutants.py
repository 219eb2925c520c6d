"""JSON that says other things, or what JSON can't be trusted with; hashed anew, as a forger would."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from file_mutants import put

from comix_fast.cache.stored_json import SHA256, json_text
from comix_fast.config import digest

if TYPE_CHECKING:
    from mutants import Cache

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 10**9, 10**40, -(10**40), 0.5, 1e300, "", "x", "\x1b[2J", "../../etc/passwd", "a\nb", "\0",
    [], {}, [[]], [None], [1], ["x"], [["x"]], [["x", 0]], [["x", "y"]], [["x", 0, 0]], {"x": 1}, {"draws": 10**9},
    {"name": None}, [{"id": {}}], "x" * 100_000, [["x", 10**30]], [["x", 0.0]], [["x", True]],
)  # fmt: skip


def documents(cache: Cache) -> list[str]:
    return [name for name in sorted(cache.files) if name.endswith(".json")]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield value, key
        yield from places(below)


def changed(cache: Cache, rng: random.Random) -> str:
    """Something in it is replaced, deleted, doubled or named otherwise."""
    name = rng.choice(documents(cache))
    value = json.loads(cache.files[name])
    ways = [one_change(value, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    if rng.random() < 0.05:
        value = rng.choice(HOSTILE)
    put(cache.root / name, rehashed(value).encode())
    return f"{name}: {', '.join(ways)}"


def one_change(value: Any, rng: random.Random) -> str:
    found = list(places(value))
    if not found:
        return "nothing to change"
    container, key = rng.choice(found)
    way = rng.choice(("replaced", "replaced", "replaced", "deleted", "doubled", "renamed", "exchanged"))
    if way == "replaced":
        container[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif way == "deleted":
        del container[key]
    elif way == "exchanged":
        other, place = rng.choice(found)
        container[key] = copy.deepcopy(other[place])
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[f"{key}!"] = container.pop(key)
    return f"{key!r:.30} {way}"


def rehashed(value: Any) -> str:
    """With the key of the recipe and the sha256 that it should have, if it had any."""
    if isinstance(value, dict):
        if isinstance(value.get("key"), str):
            value["key"] = digest(value.get("recipe"))
        if value.pop(SHA256, None) is not None:
            value[SHA256] = digest(value)
    return json_text(value)


def hostile(cache: Cache, rng: random.Random) -> str:
    """What parsers of JSON stumble over; none of it can be in a file of ours, hashed or not."""
    name = rng.choice(documents(cache))
    text = cache.files[name].decode()
    way = rng.choice(tuple(TRICKS))
    put(cache.root / name, TRICKS[way](text))
    return f"{name}: {way}"


def with_value(text: str, value: str) -> str:
    """One more value, at the beginning of the outermost object or list."""
    start = text[0]
    key = '"more": ' if start == "{" else ""
    comma = "," if text[1:].strip()[0] not in "}]" else ""
    return f"{start}{key}{value}{comma}{text[1:]}"


TRICKS = {
    "deep lists": lambda text: with_value(text, "[" * 100_000 + "]" * 100_000).encode(),
    "deep objects": lambda text: with_value(text, '{"a":' * 50_000 + "0" + "}" * 50_000).encode(),
    "rather deep lists": lambda text: with_value(text, "[" * 900 + "]" * 900).encode(),
    "a number of 5,000 digits": lambda text: with_value(text, "1" * 5000).encode(),
    "NaN": lambda text: with_value(text, "NaN").encode(),
    "-Infinity": lambda text: with_value(text, "-Infinity").encode(),
    "1e999": lambda text: with_value(text, "1e999").encode(),
    "half a character": lambda text: with_value(text, '"\\ud800"').encode(),
    "a name twice": lambda text: with_value(text, '{"a": 1, "a": 2}').encode(),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "no UTF-8": lambda text: with_value(text, '"?"').encode().replace(b"?", b"\xff\xfe"),
    "a zero": lambda text: with_value(text, '"?"').encode().replace(b"?", b"\0"),
    "a line break in a text": lambda text: with_value(text, '"?"').encode().replace(b"?", b"\n"),
    "two values": lambda text: (text + text).encode(),
    "nothing": lambda text: b"",
    "a comment": lambda text: b"/* */" + text.encode(),
    "a comma too many": lambda text: text.rstrip()[:-1].encode() + b"," + text.rstrip()[-1:].encode(),
}

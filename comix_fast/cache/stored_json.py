"""The JSON files of a cache: marked, hashed, written whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from comix_fast.cache import format as form
from comix_fast.cache.plain_files import open_plain, refuse_link
from comix_fast.config import digest
from comix_fast.errors import CacheError
from comix_fast.files import write_whole

REMEDY = "bring back a copy, or delete it and give the same extract again, which writes it anew"
SHA256 = "sha256"
MOST_BYTES = 4 << 30
MOST_DEPTH = 32
READ_BYTES = 1 << 20


def json_text(value: Any) -> str:
    """The text that a value is written as: what is read must be this again."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_marked(path: Path, encoding: str, value: Mapping[str, Any]) -> None:
    """Writes an object with its marks and the sha256 of all else in it."""
    marks = {form.ENCODING_TYPE: encoding, form.ENCODING_VERSION: form.VERSIONS[encoding][-1]}
    marked = marks | dict(value)
    write_whole(path, json_text(marked | {SHA256: digest(marked)}).encode())


def read_marked(path: Path, encoding: str) -> dict[str, Any]:
    """An object of a cache, without its hash. Raises CacheError if it is absent, not JSON, of another or newer form,
    or not what was written."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise CacheError(f"{path} does not hold a {encoding}", hint="the file is foreign or damaged")
    found = value.get(form.ENCODING_TYPE), value.get(form.ENCODING_VERSION)
    version = form.check_encoding(*found, encoding, str(path))
    if encoding in form.HASHED_SINCE and version >= form.HASHED_SINCE[encoding]:
        written = value.pop(SHA256, None)
        if written != digest(value):
            raise CacheError(
                f"{path} is not what was written: its sha256 is not the one it states",
                hint=f"it is damaged, or somebody edited it: {REMEDY}",
            )
    return value


def read_json(path: Path) -> Any:
    """A JSON file of a cache. Raises CacheError if it is absent, a link, no plain file, or not JSON."""
    refuse_link(path)
    try:
        return parse_json(_content(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheError(
            f"{path.parent} holds no feature cache: {path.name} is missing",
            hint="make one with comix extract",
        ) from error
    except (OSError, ValueError) as error:
        raise CacheError(f"{path} can't be read: {error}", hint=f"the file is damaged: {REMEDY}") from error


def parse_json(content: bytes) -> Any:
    """The value of JSON in UTF-8. Raises ValueError where it isn't, or holds what we never write: names that are there
    twice, NaN and infinities, half characters, objects nested more than MOST_DEPTH deep.
    """
    text = content.decode()
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refused_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    _require_shallow(value)
    if "\\ud" in text or "\\uD" in text:
        # Half of a pair, spelled as an escape, is no character, and no file could hold it again.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _content(path: Path) -> bytes:
    """The whole file. Raises ValueError where it is too large, or has zeros in it: a hole may have any length."""
    with open_plain(path) as file:
        pieces, n_bytes = [], 0
        while piece := file.read(READ_BYTES):
            n_bytes += len(piece)
            if n_bytes > MOST_BYTES:
                raise ValueError("it is too large to be a file of a cache")
            if b"\0" in piece:
                raise ValueError("it has zeros in it")
            pieces.append(piece)
    return b"".join(pieces)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it names a thing twice")
    return value


def _refused_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is no number of this computer")
    return number


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH):
        inside = [one for one in level if type(one) in (dict, list)]
        level = [one for part in inside for one in (part.values() if type(part) is dict else part)]
        if not level:
            return
    raise ValueError("it is nested too deep")

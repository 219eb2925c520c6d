"""The JSON files of a cache: marked, hashed, written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comix_fast.cache import format as form
from comix_fast.config import digest
from comix_fast.errors import CacheError
from comix_fast.files import write_whole

SHA256 = "sha256"
MOST_BYTES = 4 << 30


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
                hint="it is damaged, or somebody edited it: bring back the file as it was",
            )
    return value


def read_json(path: Path) -> Any:
    """A JSON file of a cache. Raises CacheError if it is absent or not JSON."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CacheError(f"{path} is too large to be a file of a cache", hint="the file is foreign or damaged")
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheError(
            f"{path.parent} holds no feature cache: {path.name} is missing",
            hint="make one with comix extract",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CacheError(f"{path} can't be read: {error}", hint="the file is damaged") from error

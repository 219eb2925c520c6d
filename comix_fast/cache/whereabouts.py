"""Where the videos of a cache are, as far as the last extract knew: a hint for those who want to see them.

A cache knows ids, not paths, and no feature hangs on a path: `videos.json` is no part of the key, decides nothing, and
a cache without it is as good as one with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.cache import format as form
from comix_fast.cache.stored_json import read_marked, write_marked
from comix_fast.errors import CacheError
from comix_fast.printable import is_plain

ENCODING = "comix-videos"
NAMED = "named"
_PATHS = ("toml", "source", "target", "base_dir", "splits")
_WAYS = (
    frozenset({"toml"}),
    frozenset({"source", "target"}),
    frozenset({"preset", "base_dir", "splits", "published_validation"}),
)


@dataclass(frozen=True)
class Whereabouts:
    """How a dataset was named to `comix extract`: a TOML file, two folders, or a preset over a published layout.

    Fields of the other ways are None. Paths are absolute once they have been written or read.
    """

    toml: Path | None = None
    source: Path | None = None
    target: Path | None = None
    preset: str | None = None
    base_dir: Path | None = None
    splits: Path | None = None
    published_validation: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields of the way that was taken, paths from the root on."""
        stated = {
            name: str(value.absolute()) if isinstance(value, Path) else value
            for name, value in vars(self).items()
            if value is not None
        }
        if self.preset is None:
            del stated["published_validation"]
        return stated

    @classmethod
    def from_json(cls, stated: Any, where: str) -> Whereabouts:
        """What to_json gave. Raises CacheError for anything else, for relative paths and for text that is not plain."""
        if not isinstance(stated, dict) or frozenset(stated) not in _WAYS:
            raise _odd(where)
        texts = {name: value for name, value in stated.items() if name != "published_validation"}
        if not all(isinstance(value, str) and is_plain(value) for value in texts.values()):
            raise _odd(where)
        if type(stated.get("published_validation", False)) is not bool:
            raise _odd(where)
        fields: dict[str, Any] = dict(stated)
        for name in _PATHS:
            if name in stated:
                fields[name] = Path(stated[name])
                if not fields[name].is_absolute():
                    raise _odd(where)
        return cls(**fields)


def _odd(where: str) -> CacheError:
    return CacheError(f"{where} does not say where videos are", hint="delete it; the next extract writes it again")


def write_whereabouts(root: Path, named: Whereabouts) -> bool:
    """Leaves videos.json in the cache at `root`; False where it can't be written, which is no error.

    The same hint again changes nothing.
    """
    try:
        whole = Whereabouts.from_json(named.to_json(), form.VIDEOS)
    except CacheError:
        return False  # a path that is not plain text would not be read again
    with contextlib.suppress(CacheError):  # damaged: written anew
        if read_whereabouts(root) == whole:
            return True
    try:
        write_marked(root / form.VIDEOS, ENCODING, {NAMED: whole.to_json()})
    except OSError:
        return False
    return True


def read_whereabouts(root: Path) -> Whereabouts | None:
    """The hint of the cache at `root`; None where there is none. Raises CacheError if it is damaged or foreign."""
    path = root / form.VIDEOS
    if not path.is_symlink() and not path.exists():
        return None
    stated: Mapping[str, Any] = read_marked(path, ENCODING)
    return Whereabouts.from_json(stated.get(NAMED), str(path))

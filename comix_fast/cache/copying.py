"""Files of caches, copied: checked before and after, whole or absent."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from comix_fast.cache.seal import DAMAGED, check_whole, read_seal
from comix_fast.errors import CacheError
from comix_fast.files import whole_file


def copy_checked(source: Path, target: Path) -> int:
    """Copies a file of a cache; gives its size. `target` appears whole, or not at all.

    Every byte is checked against the seal before it is copied and again in the copy; files of form 1, which have no
    seal, against each other. Raises CacheError if one is damaged, OSError if there is no room.
    """
    try:
        check_whole(source)
    except OSError as error:
        raise _unreadable(source, error) from error
    with whole_file(target) as partial:
        shutil.copyfile(source, partial)
        if check_whole(partial) is None and _sha256(partial) != _sha256(source):
            raise CacheError(f"the copy of {source} is not what was read", hint="run the command again")
    return target.stat().st_size


def same_file(one: Path, other: Path) -> bool:
    """Whether two files of caches hold the same: by their seals, or byte by byte where they have none.

    Raises CacheError if a seal is damaged.
    """
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        seals = read_seal(first, str(one)), read_seal(second, str(other))
    if seals[0] is not None and seals[1] is not None:
        return seals[0] == seals[1]
    return _sha256(one) == _sha256(other)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> CacheError:
    return CacheError(f"{path} can't be read: {error}", hint=DAMAGED)

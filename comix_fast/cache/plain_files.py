"""The files of a cache, as they lie in its folder: plain ones, and in the folder itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from comix_fast.errors import CacheError

LINKED = "a link may lead to a whole cache, not to a part of one: copy the folder with cp -rL if you trust its links"


def open_plain(path: Path) -> BinaryIO:
    """A file opened for reading, with no wait for what makes readers wait.

    Raises CacheError if it is a folder, a pipe or a device, OSError if it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CacheError(f"{path} is not a plain file", hint="the cache is foreign or damaged")
    return os.fdopen(descriptor, "rb")


def refuse_link(path: Path) -> None:
    """Raises CacheError if a part of a cache is a link."""
    if path.is_symlink():
        raise CacheError(f"{path} is a link", hint=LINKED)


def stored_files(root: Path, folder: str, suffix: str) -> list[Path]:
    """The files of a folder of the cache at `root` whose names end so, in order; none if the folder is absent.

    Raises CacheError if the folder or one of them is a link or of another kind, or if it can't be read.
    """
    inside = root / folder
    refuse_link(inside)
    found = []
    try:
        with os.scandir(inside) as entries:
            for entry in entries:
                if entry.name.endswith(suffix):
                    refuse_link(inside / entry.name)
                    if not entry.is_file(follow_symlinks=False):
                        raise CacheError(f"{inside / entry.name} is not a plain file", hint="move it out of the cache")
                    found.append(inside / entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheError(
            f"{inside} can't be read: {error.strerror}", hint="see whose it is, and whether it is a folder"
        ) from error
    return sorted(found)

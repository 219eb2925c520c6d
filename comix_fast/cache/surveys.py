"""What the first decode of each video found: read back on resume and when backgrounds are mixed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.plain_files import stored_files
from comix_fast.cache.reading import open_file, read_background, read_videos
from comix_fast.errors import CacheError


class Surveys:
    """The surveys of a cache. .rows: by video id; backgrounds are read one by one, as they are asked for.

    more: another folder of the cache to look in, whose surveys are the newer ones.
    """

    def __init__(self, root: Path, key: str, more: str | None = None) -> None:
        self.rows: dict[str, form.VideoRow] = {}
        self._where: dict[str, tuple[Path, int]] = {}
        self._counts: dict[Path, int] = {}
        folders = (form.SURVEYS,) if more is None else (form.SURVEYS, more)
        for path in (path for folder in folders for path in stored_files(root, folder, ".h5")):
            with open_file(path, "comix-survey") as file:
                if file.attrs.get("key") != key:
                    raise CacheError(f"{path} belongs to another recipe", hint="move it out of this cache")
                rows = read_videos(file, str(path))
                self._counts[path] = len(rows)
                for index, row in enumerate(rows):
                    self.rows[row.id] = row
                    self._where[row.id] = path, index

    def forget(self, videos: list[str]) -> None:
        """Deletes the surveys that hold these videos: their files have changed and are to be decoded afresh."""
        for path in {self._where[video][0] for video in videos}:
            path.unlink(missing_ok=True)

    def background(self, video: str) -> NDArray[np.uint8]:
        """uint8 [size, size, 3]: the video's temporal median, resized as its frames are."""
        path, index = self._where[video]
        with open_file(path, "comix-survey") as file:
            background: NDArray[np.uint8] = read_background(file, index, self._counts[path], str(path))
        return background

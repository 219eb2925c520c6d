"""What the first decode of each video found: read back on resume and when backgrounds are mixed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comix_fast.cache import format as form
from comix_fast.cache.reading import open_file, read_videos
from comix_fast.errors import CacheError


class Surveys:
    """The surveys of a cache. .rows: by video id; backgrounds are read one by one, as they are asked for.

    more: another folder of the cache to look in, for videos that its surveys lack.
    """

    def __init__(self, root: Path, key: str, more: str | None = None) -> None:
        self.rows: dict[str, form.VideoRow] = {}
        self._where: dict[str, tuple[Path, int]] = {}
        folders = (form.SURVEYS,) if more is None else (more, form.SURVEYS)
        for path in (path for folder in folders for path in sorted((root / folder).glob("*.h5"))):
            with open_file(path, "comix-survey") as file:
                if file.attrs.get("key") != key:
                    raise CacheError(f"{path} belongs to another recipe", hint="move it out of this cache")
                for index, row in enumerate(read_videos(file, str(path))):
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
            if "backgrounds" not in file:
                raise CacheError(f"{path} has no backgrounds", hint="delete it and run extract again")
            background: NDArray[np.uint8] = file["backgrounds"][index]
            return background

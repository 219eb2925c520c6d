"""The videos behind a cache's ids: a cache knows ids, not paths."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from comix_fast.cache import FeatureCache
from comix_fast.cache.stated import stated_recipe
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.whereabouts import Whereabouts, read_whereabouts
from comix_fast.datasets import (
    VIDEO_SUFFIXES,
    Dataset,
    Domain,
    Video,
    check_files,
    find_missing,
    load_folders,
    load_preset,
    load_toml,
)
from comix_fast.datasets.naming import is_video_name
from comix_fast.errors import CacheError, ComixError, DatasetError, VideoError, first_few
from comix_fast.pictures.stills import without_path
from comix_fast.printable import is_plain, printable
from comix_fast.stages.survey import content_bytes
from comix_fast.video import median_background, open_stream
from comix_fast.video.resize import Frame

LookUp = Callable[[str], Video | None]
_SHOWN = 3
_SAY = "give --videos, a dataset's TOML file or the folder that the ids begin in"


class Footage:
    """Where the videos of a cache can be seen; made by `Footage.of`. Safe to use from several threads.

    why: one sentence where no video can be found, or only some; empty where all have a file. It names no folder of
    this machine but the cache as it was typed, as it may stand on a page that is handed on.
    reason: the error that the hint ran into, in full, for whoever is here; mostly empty.
    """

    def __init__(self, cache: FeatureCache, look_up: LookUp, why: str, trusted: bool, reason: str = "") -> None:
        """look_up: the file of an id. trusted: whether the user named the place, so that other bytes are no matter."""
        self.cache = cache
        self.why = why
        self.reason = reason
        self._look_up = look_up
        self._trusted = trusted

    @classmethod
    def of(cls, cache: FeatureCache, videos: Path | None = None) -> Footage:
        """The videos of a cache.

        videos: a dataset's TOML file, or a folder in which ids are looked up as relative paths; None: where the last
            extract says that they are, if it says so. A hint that is absent, damaged or out of date is told by .why.
        Raises ComixError if `videos` is given and is neither, can't be read, or has not one video of the cache.
        """
        if videos is None:
            return _hinted(cache)
        look_up: LookUp
        if videos.is_dir():
            look_up = functools.partial(_in_folder, videos.absolute())
        elif videos.is_file():
            look_up = _present(load_toml(videos)).get
        else:
            raise DatasetError(f"there is no {videos}", hint=_SAY)
        missing = _missing(cache, look_up)
        if len(missing) == len(cache.extracted):
            raise DatasetError(
                f"{videos} has no video of {cache.path}",
                [f"looked for {first_few(map(printable, missing), _SHOWN)}"],
                hint=_SAY,
            )
        return cls(cache, look_up, _why(cache, missing), trusted=True)

    def video(self, video: str) -> Video | None:
        """The video of an id, its path and segment; None if it is not to be found, or is not what was extracted."""
        try:
            return self.find(video)
        except VideoError:
            return None

    def find(self, video: str) -> Video:
        """As `video`. Raises VideoError with the reason where there is none.

        Where only the last extract's hint says where videos are, a file of another size than was extracted is none: it
        has changed, or somebody else wrote the hint.
        """
        found = self._look_up(video)
        if found is None:
            raise VideoError("no file is known")
        if not self._trusted:
            if video not in self.cache.extracted:
                raise VideoError("is not in the cache")
            with without_path(found):
                then, now = self.cache.row(video).n_bytes, content_bytes(found)
            if then != now:
                raise VideoError(f"is not the file that was extracted: {now:,} bytes, {then:,} then")
        return found

    def n_frames(self, video: str) -> int | None:
        """Frames of a video when it was extracted; None for one without features."""
        return self.cache.row(video).n_frames if video in self.cache.extracted else None

    def background(self, donor: str) -> Frame:
        """uint8 [size, size, 3]: a video's temporal median, from the cache's surveys, else from the video itself.

        size: of the cache's recipe. Raises VideoError where there is neither, CacheError for a recipe that this
        version can't follow.
        """
        size = stated_recipe(self.cache.recipe).size
        surveys = self._surveys
        if surveys is not None and donor in surveys.rows:
            try:
                background = surveys.background(donor)
            except CacheError:
                background = None  # damaged, or of a time without mixing
            if background is not None and background.shape == (size, size, 3):
                return background
        video = self.find(donor)
        with without_path(video):
            return median_background(lambda: _frames(video), size)[0]

    @functools.cached_property
    def _surveys(self) -> Surveys | None:
        if not self.cache.path.is_dir():
            return None
        try:
            return Surveys(self.cache.path, self.cache.key)
        except CacheError:
            return None


def _frames(video: Video) -> Iterator[Frame]:
    with open_stream(video.path, video.segment) as stream:
        yield from stream


def _hinted(cache: FeatureCache) -> Footage:
    def unknown(why: str, error: Exception | None = None) -> Footage:
        reason = "" if error is None else error.message if isinstance(error, ComixError) else str(error)
        return Footage(cache, lambda video: None, f"{why}: {_SAY}", trusted=False, reason=printable(reason))

    called = printable(str(cache.path))
    if cache.path.is_file():
        return unknown("a compacted cache does not say where its videos are")
    try:
        named = read_whereabouts(cache.path)
    except CacheError as error:
        return unknown(f"the videos of {called} are not known, as its videos.json is damaged", error)
    if named is None:
        return unknown(f"the videos of {called} are not known (another extract would note them)")
    try:
        look_up = _present(_dataset(named)).get
    except (ComixError, OSError) as error:
        return unknown(f"the videos of {called} are not where they were", error)
    return Footage(cache, look_up, _why(cache, _missing(cache, look_up)), trusted=False)


def _dataset(named: Whereabouts) -> Dataset:
    if named.toml is not None:
        return load_toml(named.toml)
    if named.source is not None and named.target is not None:
        return load_folders(named.source, named.target)
    assert named.preset is not None and named.base_dir is not None and named.splits is not None
    return load_preset(named.preset, named.base_dir, named.splits, published_validation=named.published_validation)


def _present(dataset: Dataset) -> dict[str, Video]:
    """The videos that have a file, by id; those that have none, a whole list of them at worst, are left out."""
    absent = {video.id for missing in find_missing(dataset) for video in missing.videos}

    def kept(domain: Domain) -> Domain:
        train, test = (
            None if videos is None else tuple(video for video in videos if video.id not in absent)
            for videos in (domain.train, domain.test)
        )
        return dataclasses.replace(domain, train=train or (), test=test)

    there = dataclasses.replace(dataset, source=kept(dataset.source), target=kept(dataset.target))
    return {video.id: video for video in check_files(there).videos()}


def _in_folder(folder: Path, video: str) -> Video | None:
    """The video that lies at folder/id, with a suffix of videos if the id has none; none for ids that lead out."""
    parts = PurePosixPath(video).parts
    if not parts or video.startswith("/") or ".." in parts or "\\" in video or not is_plain(video):
        return None
    path = folder.joinpath(*parts)
    suffixes = ("",) if is_video_name(path.name) else ("", *VIDEO_SUFFIXES)
    for suffix in suffixes:
        candidate = path.with_name(path.name + suffix)
        try:
            if candidate.exists():
                return Video(video, candidate, None)
        except OSError:  # a name longer than a file system takes, a locked door
            continue
    return None


def _missing(cache: FeatureCache, look_up: LookUp) -> Sequence[str]:
    return sorted(video for video in cache.extracted if look_up(video) is None)


def _why(cache: FeatureCache, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    called, total = printable(str(cache.path)), len(cache.extracted)
    if len(missing) == total:
        return f"no video of {called} is where it was when it was extracted: {_SAY}"
    named = first_few((printable(video) for video in missing), _SHOWN)
    return f"{len(missing):,} of {total:,} videos of {called} have no file ({named}): {_SAY}"

"""Pictures of many videos for one page, within a budget: moving if there is room, else still, else none."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from comix_fast.console import Reporter
from comix_fast.errors import VideoError, first_few
from comix_fast.pictures.footage import Footage
from comix_fast.pictures.stills import (
    PREVIEW_QUALITY,
    PREVIEW_SIDE,
    STILL_QUALITY,
    STILL_SIDE,
    preview,
    still,
)
from comix_fast.printable import printable
from comix_fast.stages.pipeline_ahead import Ahead, Check
from comix_fast.video import choose_decoder

Kind = Literal["preview", "still", "none"]

SAMPLED = 24
"""Videos whose pictures tell what all will take."""
_SHOWN = 3
_URI = "data:image/webp;base64,"


@dataclass(frozen=True)
class Picture:
    """A picture for a page. kind: "preview" moves, "still" does not; width, height: pixels; data_uri: for `src`."""

    kind: Literal["preview", "still"]
    width: int
    height: int
    data_uri: str


@dataclass(frozen=True)
class Pictures:
    """What was made. by_id: a picture of each video that could be read; kind: what they are.

    note: one sentence for the page's reader: what was made and why, and how many videos have none.
    unread: why a video has none, by id, in the order asked for.
    """

    by_id: Mapping[str, Picture]
    kind: Kind
    note: str
    unread: Mapping[str, str] = field(default_factory=dict)

    def get(self, video: str) -> Picture | None:
        """The picture of a video, if it has one."""
        return self.by_id.get(video)

    @property
    def n_bytes(self) -> int:
        """What all data URIs take in the page, each once."""
        return sum(len(picture.data_uri) for picture in self.by_id.values())


@dataclass(frozen=True)
class _Form:
    """One way to show a video, the costliest first. words: how notes call them."""

    kind: Literal["preview", "still"]
    words: str
    longest: int
    quality: int


_FORMS = (
    _Form("preview", "moving previews", PREVIEW_SIDE, PREVIEW_QUALITY),
    _Form("still", "stills", STILL_SIDE, STILL_QUALITY),
    _Form("still", "small stills", STILL_SIDE // 2, STILL_QUALITY - 18),
)


@dataclass(frozen=True)
class _TooMuch:
    """What all pictures of one form would take at least."""

    n_bytes: float


def gather_pictures(
    footage: Footage,
    ids: Iterable[str],
    *,
    kind: Kind,
    cap_bytes: int,
    reporter: Reporter,
    threads: int = 2,
) -> Pictures:
    """Pictures of these videos that take at most cap_bytes in a page: previews, else stills, else small stills, else
    none.

    kind: the costliest form to try. cap_bytes: of all data URIs together, in characters. What a form will take is
    estimated from SAMPLED videos before all are decoded, and held to while they are made; every video has the same
    form. The result hangs on the videos alone, not on threads or speed. Held in memory are the pictures, and one video
    per thread as it is decoded. Videos that can't be read are left out and named in the note; no video ends the page.
    """
    wanted = list(dict.fromkeys(ids))
    if kind == "none" or not wanted:
        return Pictures({}, "none", "no pictures of videos, as asked" if wanted else "no videos to show")
    job = _Job(footage, reporter, threads, cap_bytes)
    begun = next(number for number, form in enumerate(_FORMS) if form.kind == kind)
    refused: list[tuple[_Form, float]] = []
    for form in _FORMS[begun:]:
        made = job.make(form, wanted)
        if isinstance(made, _TooMuch):
            refused.append((form, made.n_bytes))
            continue
        unread = {video: job.unread[video] for video in wanted if video in job.unread}
        note = _note(form.words if made else "", refused, len(wanted), cap_bytes, unread, footage.why)
        return Pictures(made, form.kind if made else "none", note, unread)
    unread = {video: job.unread[video] for video in wanted if video in job.unread}
    return Pictures({}, "none", _note("", refused, len(wanted), cap_bytes, unread, footage.why), unread)


class _Job:
    """Pictures under way. unread: videos that were tried in vain, and are not tried again."""

    def __init__(self, footage: Footage, reporter: Reporter, threads: int, cap_bytes: int) -> None:
        self.unread: dict[str, str] = {}
        self._footage, self._reporter = footage, reporter
        self._threads, self._cap = max(1, threads), cap_bytes
        self._decoder = choose_decoder("auto")

    def make(self, form: _Form, videos: Sequence[str]) -> dict[str, Picture] | _TooMuch:
        """A picture of each video that can be read; or what they would take, if that is too much."""
        todo = [video for video in videos if video not in self.unread]
        step = max(1, len(todo) // SAMPLED)
        sample = todo[step // 2 :: step]
        sampled = set(sample)
        rest = [video for video in todo if video not in sampled]
        made: dict[str, Picture] = {}
        taken = 0
        with self._reporter.progress(f"making {form.words}", len(todo), "videos") as advance:
            for stretch in (sample, rest):
                for video, picture in self._pictures(form, stretch):
                    advance(1)
                    if picture is None:
                        continue
                    made[video] = picture
                    taken += len(picture.data_uri)
                    if stretch is rest and taken > self._cap:
                        # What the others take is guessed from those that are made.
                        return _TooMuch(taken / len(made) * (len(todo) - len(self.unread.keys() & set(todo))))
                expected = taken / max(1, len(made)) * (len(made) + (len(rest) if stretch is sample else 0))
                if expected > self._cap:
                    return _TooMuch(expected)
        return {video: made[video] for video in todo if video in made}

    def _pictures(self, form: _Form, videos: Sequence[str]) -> Iterator[tuple[str, Picture | None]]:
        """Each video and its picture, in order; None for one that can't be read."""

        def work(video: str, _check: Check) -> Iterator[Picture]:
            yield self._picture(form, video)

        if not videos:
            return
        with Ahead(videos, work, min(self._threads, len(videos)), 1, "comix-pictures") as ahead:
            for video, results in ahead:
                try:
                    (picture,) = results
                except VideoError as error:
                    self.unread[video] = printable(error.message, 300)
                    yield video, None
                else:
                    yield video, picture

    def _picture(self, form: _Form, video: str) -> Picture:
        found, n_frames = self._footage.find(video), self._footage.n_frames(video)
        make = preview if form.kind == "preview" else still
        encoded = make(found, n_frames, longest=form.longest, quality=form.quality, decoder=self._decoder)
        with Image.open(io.BytesIO(encoded)) as picture:
            width, height = picture.size
        return Picture(form.kind, width, height, _URI + base64.b64encode(encoded).decode())


def _note(
    words: str,
    refused: Sequence[tuple[_Form, float]],
    n_videos: int,
    cap_bytes: int,
    unread: Mapping[str, str],
    why: str,
) -> str:
    """What was made and why, in one sentence. words: the form, empty if there are no pictures."""
    n_read, parts = n_videos - len(unread), []
    if refused:
        instead = f"{words or 'no pictures'} instead of {refused[0][0].words}"
        sizes = ", ".join(f"{n_read:,} {form.words} would take {_mb(size)}" for form, size in refused)
        parts.append(f"{instead}: {sizes}, the page may take {_mb(cap_bytes)} of them (--max-size)")
    elif words:
        parts.append(f"{words} of {n_read:,} videos" if unread else f"{words} of all {n_videos:,} videos")
    if unread and len(unread) == n_videos and why:
        parts.append(f"no pictures: {why}")
    elif unread:
        named = first_few((f"{printable(video)} ({reason})" for video, reason in unread.items()), _SHOWN)
        parts.append(f"{len(unread):,} of {n_videos:,} videos could not be shown: {named}")
    return "; ".join(parts)


def _mb(n_bytes: float) -> str:
    """Reads 31 MB, 4.2 MB, 640 kB."""
    if n_bytes < 1e6:
        return f"{n_bytes / 1000:,.0f} kB"
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 10e6 else f"{n_bytes / 1e6:,.0f} MB"

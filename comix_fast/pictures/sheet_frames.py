"""The frames that a contact sheet shows, decoded once, and made as small as they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from comix_fast.errors import CacheError, VideoError
from comix_fast.pictures.footage import Footage
from comix_fast.pictures.mixes import mix
from comix_fast.pictures.sheet import Sheet
from comix_fast.pictures.stills import frames_of, squeezed, without_path
from comix_fast.printable import printable
from comix_fast.video import count_frames, resize_frame
from comix_fast.video.resize import Frame

BACKGROUND_SHARE = 0.62
"""How large a donor's background is drawn, of a frame's size."""


@dataclass(frozen=True)
class Shown:
    """What a sheet's rows show.

    size: width and height of the video; thumb_size: as drawn. thumbs: by frame number; mixed: by view and number;
    backgrounds: by donor; reasons: why a donor's background can't be had, by donor.
    """

    size: tuple[int, int]
    thumb_size: tuple[int, int]
    thumbs: Mapping[int, Image.Image]
    mixed: Mapping[str, Mapping[int, Image.Image]]
    backgrounds: Mapping[str, Image.Image]
    reasons: Mapping[str, str]


def boxed(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """Width and height fitted into a box, the aspect kept, made larger too."""
    scale = min(box[0] / width, box[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def read_sheet(sheet: Sheet, footage: Footage, box: tuple[int, int]) -> Shown:
    """Decodes a sheet's frames, each fitted into `box` (width, height).

    Raises VideoError if the video can't be read, CacheError if it has not as many frames as when it was extracted.
    A donor whose background can't be had is no error: its rows say so.
    """
    video = footage.find(sheet.row.id)
    with without_path(video):
        n_frames = count_frames(video.path, video.segment)
    if n_frames != sheet.row.n_frames:
        raise CacheError(
            f"{printable(sheet.row.id)} has {n_frames:,} frames now; {sheet.row.n_frames:,} when it was extracted",
            [printable(str(video.path))],
            hint="bring back the file of then, name another place with --videos, or extract the video again",
        )
    thumbs: dict[int, Image.Image] = {}
    squares: dict[int, Frame] = {}
    size = thumb_size = (1, 1)
    for number, frame in frames_of(video, sheet.frames, n_frames):
        size = frame.shape[1], frame.shape[0]
        thumb_size = boxed(*size, box)
        thumbs[number] = squeezed(frame, thumb_size)
        if number in sheet.mixed_frames:
            squares[number] = resize_frame(frame, sheet.size)
    mixed, small, reasons = _mixed(sheet, footage, squares, thumb_size)
    return Shown(size, thumb_size, thumbs, mixed, small, reasons)


def _mixed(
    sheet: Sheet, footage: Footage, squares: Mapping[int, Frame], thumb_size: tuple[int, int]
) -> tuple[dict[str, dict[int, Image.Image]], dict[str, Image.Image], dict[str, str]]:
    """Mixed frames by view, backgrounds by donor, and reasons where there is none."""
    mixed: dict[str, dict[int, Image.Image]] = {}
    small: dict[str, Image.Image] = {}
    reasons: dict[str, str] = {}
    known: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}
    for view in sheet.views:
        if view.draw is None:
            continue
        donor = view.draw.donor
        if donor not in known and donor not in reasons:
            try:
                known[donor] = footage.background(donor)
            except VideoError as error:
                reasons[donor] = f"{donor}: {error.message}"
                continue
            width, height = (max(1, round(side * BACKGROUND_SHARE)) for side in thumb_size)
            small[donor] = squeezed(known[donor], (width, height))
        if donor in known:
            mixed[view.view] = {
                number: squeezed(mix(squares[number], known[donor], view.draw.gamma), thumb_size)
                for number in set(view.frames)
            }
    return mixed, small, reasons

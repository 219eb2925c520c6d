"""`comix cache show`: a contact sheet of one video's clips, as a PNG file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo
from rich.console import RenderableType
from rich.text import Text

from comix_fast.cache import FeatureCache
from comix_fast.errors import CacheError, ComixError, VideoError
from comix_fast.files import whole_file
from comix_fast.pictures.footage import Footage
from comix_fast.pictures.sheet import Sheet, match_video, plan_sheet
from comix_fast.pictures.sheet_frames import read_sheet
from comix_fast.pictures.sheet_page import CELL_HEIGHT, CELL_WIDTH, draw_sheet
from comix_fast.printable import printable

_OF = "comix-video"
"""The entry of a PNG file that says whose sheet it is."""
LONGEST_NAME = 200
"""Bytes of a file's name before its suffix: file systems take 255, and a file under way has a longer one."""


@dataclass(frozen=True)
class Written:
    """The file, and what is on it. width, height: in pixels."""

    path: Path
    sheet: Sheet
    width: int
    height: int


def safe_name(video: str) -> str:
    """A file's name made of an id: letters, digits, dots, hyphens and underscores, never a path nor hidden."""
    name = re.sub(r"[^\w.-]+", "-", video).strip(".-")
    if len(name.encode()) > LONGEST_NAME:
        name = name.encode()[-LONGEST_NAME:].decode(errors="ignore").lstrip(".-")
    return f"{name or 'video'}.png"


def _shows(path: Path, video: str) -> bool:
    """Whether a file is a former sheet of this video."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return isinstance(image, PngImageFile) and image.info.get(_OF) == video
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def run(folder: Path, typed: str, videos: Path | None, out: Path | None, speed: int) -> Written:
    """Draws the sheet and writes it whole, over a former one of this video.

    out: where; None: in the current folder, named after the video. Raises ComixError if the video is not in the cache,
    its file can't be found or read, or `out` is no name for a PNG file.
    """
    if out is not None and (out.suffix.lower() != ".png" or out.is_dir()):
        raise ComixError(f"--out {out} is not the name of a PNG file", hint="give --out NAME.png")
    cache = FeatureCache(folder)
    video = match_video(cache, typed)
    path = Path(safe_name(video)) if out is None else out
    if out is None and path.exists() and not _shows(path, video):
        raise ComixError(f"{path} is there and is no sheet of {printable(video)}", hint="give --out NAME.png")
    sheet = plan_sheet(cache, video, speed)
    footage = Footage.of(cache, videos)
    try:
        shown = read_sheet(sheet, footage, (CELL_WIDTH, CELL_HEIGHT))
    except VideoError as error:
        raise CacheError(
            f"{printable(video)} can't be shown: {error.message}", [one for one in (footage.why, footage.reason) if one]
        ) from error
    image = draw_sheet(sheet, shown)
    words = PngInfo()
    words.add_itxt(_OF, video)
    with whole_file(path) as partial, partial.open("wb") as file:
        image.save(file, "PNG", pnginfo=words)
    return Written(path, sheet, *image.size)


def to_json(written: Written) -> dict[str, Any]:
    """For --json."""
    sheet = written.sheet
    return {
        "file": str(written.path),
        "width": written.width,
        "height": written.height,
        "video": sheet.row.id,
        "domain": sheet.domain,
        "label": sheet.label or None,
        "frames": sheet.row.n_frames,
        "repeat": sheet.plan.repeat,
        "bins": [{"starts": list(row.starts), "frames": list(row.frames)} for row in sheet.bins],
        "views": [view.view for view in sheet.views],
    }


def closing(written: Written) -> RenderableType:
    """The file, and what it shows."""
    sheet = written.sheet
    return Text(
        f"{written.path}: {printable(sheet.row.id)}, {len(sheet.bins)} bins, "
        f"{len(sheet.views)} views ({', '.join(view.view for view in sheet.views)}); "
        f"{written.width}×{written.height} pixels"
    )

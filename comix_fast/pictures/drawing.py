"""A white page to draw on: text that fits, frames, marks that need no colour to be told apart."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from comix_fast.printable import printable

Colour = str
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK, QUIET, LINE, SHADE = "#ffffff", "#1b1f24", "#545d68", "#d0d7de", "#eef1f4"
BLUE, PALE_BLUE, ORANGE = "#0b5fa5", "#b6d4ee", "#9a4a00"
"""Told apart by readers who see two colours, and each above 4.5 : 1 on paper where text is set in it."""

TITLE, HEADING, BODY, SMALL = 23, 16, 14, 13
_LONGEST = 1000


@functools.cache
def font(size: int, bold: bool = False) -> Font:
    """DejaVu Sans as matplotlib carries it (Latin, Greek, Cyrillic); without matplotlib, Pillow's own has less."""
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "mpl-data/fonts/ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


class Page:
    """A picture under way. Text is data: it is drawn as it is written, what can't be printed spelled out."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self,
        at: tuple[int, int],
        text: str,
        size: int = BODY,
        *,
        colour: Colour = INK,
        bold: bool = False,
        width: int | None = None,
        centred: bool = False,
    ) -> int:
        """One line from the left upper corner `at`, or centred on it; its width. width: at most; the middle goes."""
        face = font(size, bold)
        shown = fitting(text, face, width)
        self._draw.text(at, shown, fill=colour, font=face, anchor="ma" if centred else "la")
        return round(face.getlength(shown))

    def line(self, points: tuple[int, int, int, int], colour: Colour = LINE, width: int = 1) -> None:
        """From x, y to x, y."""
        self._draw.line(points, fill=colour, width=width)

    def box(self, corners: tuple[int, int, int, int], fill: Colour | None = None, line: Colour | None = None) -> None:
        """A rectangle; both corners belong to it."""
        self._draw.rectangle(corners, fill=fill, outline=line)

    def picture(self, at: tuple[int, int], picture: Image.Image) -> None:
        """A picture with a thin line around it."""
        x, y = at
        self.image.paste(picture, at)
        self.box((x - 1, y - 1, x + picture.width, y + picture.height), line=LINE)

    def again(self, at: tuple[int, int], picture: Image.Image) -> None:
        """A picture that was there just before: paler, with a hatched band along its foot."""
        x, y = at
        self.picture(at, Image.blend(picture, Image.new("RGB", picture.size, PAPER), 0.55))
        band = min(11, picture.height)
        hatched = Image.new("RGB", (picture.width, band), PAPER)
        drawn = ImageDraw.Draw(hatched)
        for left in range(-band, picture.width, 7):
            drawn.line((left, band, left + band, 0), fill=ORANGE, width=2)
        self.image.paste(hatched, (x, y + picture.height - band))


def fitting(text: str, face: Font, width: int | None) -> str:
    """The text as it can be printed, its middle left out until it is at most `width` pixels long."""
    shown = printable(text, _LONGEST)
    if width is None or face.getlength(shown) <= width:
        return shown
    low, high = 1, len(shown)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if face.getlength(_cut(shown, middle)) <= width else (low, middle - 1)
    return _cut(shown, low)


def _cut(text: str, kept: int) -> str:
    """The first and last characters, `kept` in all; the end is the longer part, as ids differ there."""
    first = kept // 2
    return f"{text[:first]}…{text[len(text) - (kept - first) :]}"


def wrapped(text: str, face: Font, width: int) -> list[str]:
    """The text in lines of at most `width` pixels, broken at spaces; a longer word has a line of its own, cut."""
    lines: list[str] = []
    line = ""
    for word in printable(text, 4 * _LONGEST).split():
        longer = f"{line} {word}".strip()
        if line and face.getlength(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [fitting(one, face, width) for one in (*lines, line)]

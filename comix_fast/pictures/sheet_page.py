"""A contact sheet on paper: the header, a row for each bin, a row for each view."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from comix_fast.pictures import drawing
from comix_fast.pictures.drawing import BLUE, BODY, HEADING, INK, LINE, ORANGE, PALE_BLUE, QUIET, SHADE, SMALL, Page
from comix_fast.pictures.sheet import BinRow, Sheet, ViewRow
from comix_fast.pictures.sheet_frames import Shown

MARGIN, GAP, BESIDE = 30, 6, 236
"""Pixels around the page, between frames, and of the column beside them."""
CELL_WIDTH, CELL_HEIGHT = 112, 96
"""The box that every frame is fitted into."""
ACROSS = 8
"""Frames side by side; longer clips go on below."""
CAPTION = 22
LISTED_STARTS = 6
WIDTH = 2 * MARGIN + BESIDE + ACROSS * (CELL_WIDTH + GAP) - GAP


def draw_sheet(sheet: Sheet, shown: Shown) -> Image.Image:
    """The page, RGB, WIDTH pixels wide and as long as it takes."""
    # Drawn twice: the first time on a page too small tells how long it is to be.
    height = _Drawn(Page(WIDTH, 1), sheet, shown).bottom
    drawn = _Drawn(Page(WIDTH, height), sheet, shown)
    return drawn.page.image


class _Drawn:
    """A sheet drawn from the top down. bottom: where it ends."""

    def __init__(self, page: Page, sheet: Sheet, shown: Shown) -> None:
        self.page, self._sheet, self._shown = page, sheet, shown
        self._lines = -(-sheet.plan.clip_length // ACROSS)
        y = self._header(MARGIN - 4)
        for row in sheet.bins:
            y = self._bin(y, row)
        y = self._views(y + 8)
        self.bottom = self._legend(y + 10) + MARGIN - 8

    def _header(self, y: int) -> int:
        page, right = self.page, WIDTH - MARGIN
        page.text((MARGIN, y), self._sheet.row.id, drawing.TITLE, bold=True, width=right - MARGIN)
        y += 40
        for left, (name, value) in zip(_columns(3), _facts(self._sheet, self._shown.size), strict=False):
            across, down = left
            page.text((across, y + 44 * down), name, SMALL, colour=QUIET)
            page.text((across, y + 44 * down + 18), value, BODY, width=(right - MARGIN) // 3 - 20)
        y += 44 * 2 + 12
        return self._timeline(y)

    def _timeline(self, y: int) -> int:
        """The whole video from left to right: where its bins begin, and the clips that stand for them."""
        page, sheet, left = self.page, self._sheet, MARGIN
        scale = (WIDTH - 2 * MARGIN - 1) / (sheet.plan.n_frames * sheet.plan.repeat)
        ends = [row.starts[0] for row in sheet.bins[1:]] + [sheet.plan.n_frames * sheet.plan.repeat]
        for row, end in zip(sheet.bins, ends, strict=True):
            first, last = left + round(row.starts[0] * scale), left + round(end * scale)
            page.box((first, y, last, y + 22), fill=SHADE if row.number % 2 else drawing.PAPER, line=LINE)
            if last - first > 18:
                page.text(((first + last) // 2, y + 3), str(row.number), SMALL, colour=QUIET, centred=True)
            clip = left + round(min(row.starts[0] + _extent(sheet), _end(sheet)) * scale)
            page.box((first, y + 24, max(first + 1, clip - 2), y + 28), fill=BLUE if row.number % 2 else PALE_BLUE)
        of_speed = "" if sheet.speed == 1 else f"of the view speed-{sheet.speed} "
        said = f"the whole video in its bins; below them, the clip {of_speed}that stands for each"
        page.text((left, y + 33), said, SMALL, colour=QUIET)
        return y + 66

    def _bin(self, y: int, row: BinRow) -> int:
        page = self.page
        page.line((MARGIN, y, WIDTH - MARGIN, y))
        y += 10
        page.text((MARGIN, y - 2), f"bin {row.number}", HEADING, bold=True)
        several = len(row.starts) > 1
        page.text((MARGIN, y + 22), f"{'starts' if several else 'start'} {_listed(row.starts)}", SMALL, colour=QUIET)
        if several:
            count = f"{len(row.starts):,} candidates; shown: {row.starts[0]}"
            page.text((MARGIN, y + 40), count, SMALL, colour=QUIET)
        self._place(y + 62, row.starts[0])
        return self._strip(y, row.frames, self._shown.thumbs)

    def _place(self, y: int, start: int) -> None:
        """Where in the video a clip lies, on a line as long as the column."""
        long, sheet = BESIDE - 24, self._sheet
        first, last = (round(at / _end(sheet) * long) for at in (start, min(start + _extent(sheet), _end(sheet))))
        self.page.box((MARGIN, y + 3, MARGIN + long, y + 5), fill=LINE)
        self.page.box((MARGIN + first, y, MARGIN + max(last, first + 3), y + 8), fill=BLUE)

    def _strip(self, y: int, frames: Sequence[int], thumbs: Mapping[int, Image.Image]) -> int:
        """A clip's frames with their numbers beneath; those that are there again are marked. Gives where it ends."""
        height = self._shown.thumb_size[1]
        for place, number in enumerate(frames):
            across, down = place % ACROSS, place // ACROSS
            x, top = MARGIN + BESIDE + across * (CELL_WIDTH + GAP), y + down * (height + CAPTION)
            again = place > 0 and frames[place - 1] == number
            (self.page.again if again else self.page.picture)((x, top), thumbs[number])
            said = f"{number} again" if again else str(number)
            at = (x + self._shown.thumb_size[0] // 2, top + height + 3)
            self.page.text(at, said, SMALL, colour=ORANGE if again else INK, bold=again, centred=True)
        return y + max(self._lines * (height + CAPTION), 76) + 8

    def _views(self, y: int) -> int:
        sheet, page = self._sheet, self.page
        page.line((MARGIN, y, WIDTH - MARGIN, y), INK, 2)
        title = f"views in the cache, each by its clip of bin {sheet.shown_bin}"
        page.text((MARGIN, y + 12), title, HEADING, bold=True)
        y += 46
        for number, view in enumerate(sheet.views):
            if number:
                page.line((MARGIN, y, WIDTH - MARGIN, y))
            y = self._mix(y + 10, view) if view.draw else self._unmixed(y + 10, view)
        drawn = sum(view.draw is not None for view in sheet.views)
        if sheet.n_mixes > drawn:
            page.text((MARGIN, y), f"and {sheet.n_mixes - drawn} more draws of background mixing", BODY)
            y += 26
        if not sheet.n_mixes:
            page.text((MARGIN, y), "no background is mixed into this video in this cache", BODY, colour=QUIET)
            y += 26
        return y

    def _unmixed(self, y: int, view: ViewRow) -> int:
        self.page.text((MARGIN, y - 2), view.view, HEADING, bold=True)
        self.page.text((MARGIN, y + 22), f"start {view.start}", SMALL, colour=QUIET)
        apart = "consecutive frames" if view.speed == 1 else f"frames {view.speed} apart"
        self.page.text((MARGIN, y + 40), apart, SMALL, colour=QUIET)
        return self._strip(y, view.frames, self._shown.thumbs)

    def _mix(self, y: int, view: ViewRow) -> int:
        assert view.draw is not None
        page, draw, inside = self.page, view.draw, BESIDE - 16
        used = page.text((MARGIN, y - 2), view.view, HEADING, bold=True)
        page.text((MARGIN + used + 10, y), f"γ = {draw.gamma:.3f}", BODY)
        page.text((MARGIN, y + 22), f"start {view.start}; background of", SMALL, colour=QUIET)
        page.text((MARGIN, y + 40), draw.donor, SMALL, width=inside)
        background = self._shown.backgrounds.get(draw.donor)
        below = y + 62
        if background is not None:
            page.picture((MARGIN + 1, below), background)
            below += background.height + 6
        mixed = self._shown.mixed.get(view.view)
        if mixed is not None:
            bottom = self._strip(y, view.frames, mixed)
        else:
            reason = f"not drawn: {self._shown.reasons.get(draw.donor, 'its background is not known')}"
            page.text((MARGIN + BESIDE, y + 20), reason, BODY, width=WIDTH - 2 * MARGIN - BESIDE)
            bottom = y + 60
        starts = f"all its starts: {', '.join(map(str, draw.starts))}"
        page.text((MARGIN + BESIDE, bottom - 6), starts, SMALL, colour=QUIET, width=WIDTH - 2 * MARGIN - BESIDE)
        return max(bottom + 18, below + 4)

    def _legend(self, y: int) -> int:
        page = self.page
        page.line((MARGIN, y, WIDTH - MARGIN, y), INK, 2)
        y += 12
        face = drawing.font(SMALL)
        for text in _explained(self._sheet):
            for line in drawing.wrapped(text, face, WIDTH - 2 * MARGIN):
                page.text((MARGIN, y), line, SMALL, colour=QUIET)
                y += 19
        return y


def _columns(count: int) -> Iterator[tuple[int, int]]:
    """Places in a grid: pixels across, rows down."""
    for number in range(2 * count):
        yield MARGIN + (number % count) * ((WIDTH - 2 * MARGIN) // count), number // count


def _facts(sheet: Sheet, size: tuple[int, int]) -> list[tuple[str, str]]:
    row, plan = sheet.row, sheet.plan
    rate = f" at {row.fps:.4g} a second ({row.n_frames / row.fps:.1f} s)" if _is_rate(row.fps) else ""
    repeated = "each frame is shown once"
    if plan.repeat > 1:
        repeated = f"each frame is shown {plan.repeat} times: the video is short"
    return [
        ("domain", f"{sheet.domain} ({sheet.domain_name})"),
        ("label", sheet.label or "none"),
        ("picture", f"{size[0]}×{size[1]} pixels, taken as {sheet.size}×{sheet.size}"),
        ("frames", f"{row.n_frames:,}{rate}"),
        ("repeated", repeated),
        (
            "candidate clips",
            f"{plan.n_clips:,} of {plan.clip_length} frames, every {plan.stride}, in {plan.n_bins} bins",
        ),
    ]


def _is_rate(fps: float) -> bool:
    return math.isfinite(fps) and fps > 0


def _explained(sheet: Sheet) -> Iterator[str]:
    speed = "" if sheet.speed == 1 else f", with frames {sheet.speed} apart as in the view speed-{sheet.speed}"
    yield (
        "Beside each bin: the frames at which its candidate clips start. Training draws one of them, testing takes the "
        f"first, which is the one shown{speed}."
    )
    counted = "in the video, from 0"
    if sheet.plan.repeat > 1:
        counted += f"; starts count in the slowed-down video, in which each frame is shown {sheet.plan.repeat} times"
    yield f"Numbers under frames count {counted}."
    clips = [row.frames for row in sheet.bins] + [view.frames for view in sheet.views]
    if any(len(set(frames)) < len(frames) for frames in clips):
        yield "Hatched, pale and marked “again”: the frame before it, shown once more."
    if any(view.draw for view in sheet.views):
        yield (
            "Mixed frames are (1 − γ) · frame + γ · background, the temporal median of a video of the other domain. "
            "Each draw has a start of its own in every bin."
        )


def _listed(starts: Sequence[int]) -> str:
    if len(starts) <= LISTED_STARTS:
        return ", ".join(map(str, starts))
    return f"{', '.join(map(str, starts[: LISTED_STARTS - 2]))}, … {starts[-1]}"


def _extent(sheet: Sheet) -> int:
    """Frames of the repeated video from a clip's first to its last."""
    return (sheet.plan.clip_length - 1) * sheet.speed + 1


def _end(sheet: Sheet) -> int:
    return sheet.plan.n_frames * sheet.plan.repeat

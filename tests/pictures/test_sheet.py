"""Contact sheets: what is on them by the plan, and by the pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from greys import Filmed, WriteGrey
from PIL import Image

from builders import edited, small_recipe
from comix_fast.cache import FeatureCache
from comix_fast.config import ViewPlan
from comix_fast.errors import CacheError
from comix_fast.pictures import Footage, drawing
from comix_fast.pictures.drawing import PAPER, Page, fitting, font, wrapped
from comix_fast.pictures.mixes import cached_draw
from comix_fast.pictures.sheet import Sheet, match_video, plan_sheet
from comix_fast.pictures.sheet_frames import Shown, boxed, read_sheet
from comix_fast.pictures.sheet_page import BESIDE, CELL_HEIGHT, CELL_WIDTH, GAP, MARGIN, WIDTH, draw_sheet
from comix_fast.video import clip_frames, plan_clips

LONG, SHORT = "go/long-s.mp4", "stop/short-s.mp4"
BOX = (CELL_WIDTH, CELL_HEIGHT)


def read(cache: FeatureCache, videos: Path, video: str, speed: int = 1) -> tuple[Sheet, Shown]:
    sheet = plan_sheet(cache, video, speed)
    return sheet, read_sheet(sheet, Footage.of(cache, videos), BOX)


@pytest.mark.parametrize(("video", "n_frames", "repeat"), [(LONG, 80, 1), (SHORT, 30, 3)])
@pytest.mark.parametrize("speed", [1, 2])
def test_bins_are_those_of_the_plan(filmed: Filmed, video: str, n_frames: int, repeat: int, speed: int) -> None:
    sheet, plan = plan_sheet(filmed(), video, speed), plan_clips(n_frames)
    assert plan.repeat == sheet.plan.repeat == repeat
    assert [list(row.starts) for row in sheet.bins] == plan.bins
    assert [row.frames for row in sheet.bins] == [clip_frames(plan, start, speed) for start in plan.test_starts]
    assert [row.number for row in sheet.bins] == list(range(1, 17))
    shown = [row.frames for row in sheet.bins] + [view.frames for view in sheet.views]
    assert sheet.frames == sorted({number for frames in shown for number in frames})


def test_the_cache_s_own_recipe_decides(filmed: Filmed) -> None:
    recipe = small_recipe(views=ViewPlan((), 1), clip_length=4, stride=2, bins=5, min_frames=40)
    sheet, plan = plan_sheet(filmed(recipe), SHORT), plan_clips(30, 4, 2, 5, 40)
    assert plan.repeat == 2
    assert [list(row.starts) for row in sheet.bins] == plan.bins
    assert [row.frames for row in sheet.bins] == [clip_frames(plan, start) for start in plan.test_starts]
    assert [view.view for view in sheet.views] == ["plain", "bgmix-0"]


def test_views_are_clips_of_one_bin(filmed: Filmed) -> None:
    cache = filmed()
    sheet, plan = plan_sheet(cache, LONG), plan_clips(80)
    start = plan.test_starts[8]
    assert (sheet.shown_bin, sheet.n_mixes) == (9, 2)
    plain, fast, *mixed = sheet.views
    assert (plain.start, plain.frames) == (start, tuple(range(start, start + 8)))
    assert (fast.start, fast.frames) == (start, tuple(range(start, start + 16, 2)))
    for view in mixed:
        draw = cached_draw(cache, LONG, view.view)
        assert (view.draw, view.start) == (draw, draw.starts[8])
        assert view.frames == clip_frames(plan, draw.starts[8])
    assert (sheet.domain, sheet.domain_name, sheet.label) == ("source", "s", "go")


def test_a_view_that_the_cache_lacks(filmed: Filmed) -> None:
    with pytest.raises(CacheError, match="no view 'speed-3'"):
        plan_sheet(filmed(), LONG, 3)


def test_clips_that_are_not_those_of_the_recipe(filmed: Filmed) -> None:
    cache = filmed()
    (path,) = (cache.path / "shards").glob("source-*.h5")
    with edited(path) as file:
        file["views/plain/starts"][1] += 1
    with pytest.raises(CacheError, match="are not those of the recipe"):
        plan_sheet(FeatureCache(cache.path), LONG)


@pytest.mark.parametrize("video", [LONG, SHORT])
def test_each_frame_shown_is_the_one_of_its_number(filmed: Filmed, tmp_path: Path, video: str) -> None:
    sheet, shown = read(filmed(), tmp_path / "videos/s", video, 2)
    assert sorted(shown.thumbs) == sheet.frames
    for number, thumb in shown.thumbs.items():
        assert float(np.asarray(thumb).mean()) == pytest.approx(20 + 2 * number, abs=2)
    assert shown.size == ((64, 48) if video == LONG else (48, 64))
    assert shown.thumb_size == ((112, 84) if video == LONG else (72, 96))
    for view in sheet.views:
        if view.draw is not None:
            behind = float(np.asarray(shown.backgrounds[view.draw.donor]).mean())
            for number, thumb in shown.mixed[view.view].items():
                expected = (1 - view.draw.gamma) * (20 + 2 * number) + view.draw.gamma * behind
                assert float(np.asarray(thumb).mean()) == pytest.approx(expected, abs=2)


def cells(image: Image.Image, y: int, size: tuple[int, int]) -> list[float]:
    """The grey of the middle of each frame of a row, at a height on the page."""
    xs = [MARGIN + BESIDE + place * (CELL_WIDTH + GAP) + size[0] // 2 for place in range(8)]
    return [float(np.asarray(image.crop((x - 4, y - 4, x + 4, y + 4))).mean()) for x in xs]


def rows_of(image: Image.Image) -> list[int]:
    """Where frames begin: below a white line in the first column, where pixels are dark for 60 lines or more."""
    column = np.asarray(image)[:, MARGIN + BESIDE + 20].mean(axis=1) < 250
    edges = np.flatnonzero(np.diff(column.astype(int)))
    runs = list(zip(edges[::2] + 1, edges[1::2] + 1, strict=False))
    return [int(first) for first, last in runs if last - first > 60]


def test_the_page_shows_the_plan(filmed: Filmed, tmp_path: Path) -> None:
    sheet, shown = read(filmed(), tmp_path / "videos/s", LONG)
    image = draw_sheet(sheet, shown)
    assert image.width == WIDTH
    tops = rows_of(image)
    assert len(tops) == 16 + 4
    for top, row in zip(tops, sheet.bins, strict=False):
        assert cells(image, top + 40, shown.thumb_size) == pytest.approx([20 + 2 * n for n in row.frames], abs=3)


def test_frames_that_are_there_again_are_marked(filmed: Filmed, tmp_path: Path) -> None:
    sheet, shown = read(filmed(), tmp_path / "videos/s", SHORT)
    image = draw_sheet(sheet, shown)
    top, frames = rows_of(image)[0], sheet.bins[0].frames
    assert frames == (0, 0, 0, 1, 1, 1, 2, 2)
    middle, foot = cells(image, top + 40, shown.thumb_size), top + shown.thumb_size[1] - 6
    for place, number in enumerate(frames):
        again = place > 0 and frames[place - 1] == number
        level = 20 + 2 * number
        # 0.45 of the frame and 0.55 of white.
        assert middle[place] == pytest.approx(0.45 * level + 0.55 * 255 if again else level, abs=3)
        x = MARGIN + BESIDE + place * (CELL_WIDTH + GAP)
        band = np.asarray(image.crop((x + 4, foot, x + 60, foot + 4))).astype(int)
        # Hatched with a colour: the band is not of one grey.
        assert (np.ptp(band, axis=2).max() > 60) == again
        caption = np.asarray(image.crop((x, foot + 8, x + 72, foot + 26))).astype(int)
        # The word "again" beside the number is wider than the number alone.
        dark = np.flatnonzero((caption.min(axis=2) < 160).any(axis=0))
        assert (np.ptp(dark) > 40) == again


def test_a_donor_whose_background_is_gone_is_no_error(filmed: Filmed, tmp_path: Path) -> None:
    cache = filmed()
    for path in (cache.path / "surveys").iterdir():
        path.unlink()
    sheet, shown = read(cache, tmp_path / "videos/s", LONG)
    assert shown.mixed == {} and set(shown.reasons) == {view.draw.donor for view in sheet.views if view.draw}
    assert all("no file is known" in reason for reason in shown.reasons.values())
    assert len(rows_of(draw_sheet(sheet, shown))) == 16 + 2


def test_a_video_with_other_frames_than_then(filmed: Filmed, tmp_path: Path, grey: WriteGrey) -> None:
    cache = filmed()
    for n_frames in (79, 81):
        grey(tmp_path / f"videos/s/{LONG}", n_frames)
        with pytest.raises(CacheError, match=f"has {n_frames} frames now; 80 when it was extracted"):
            read(cache, tmp_path / "videos/s", LONG)


def test_odd_texts_are_drawn_as_text(filmed: Filmed, tmp_path: Path) -> None:
    sheet, shown = read(filmed(), tmp_path / "videos/s", LONG)
    before = draw_sheet(sheet, shown)
    names = ("<img src=x onerror=alert(1)>", "x" * 3000, "\x1b[31m\u202eevil", "ab\nc", "押す/ωμέγα/שלום", "%s{0}")
    for name in names:
        odd = replace(sheet, row=replace(sheet.row, id=name), label=name, domain_name=name)
        image = draw_sheet(odd, shown)
        assert image.size == before.size
        # What is beside the page's right margin stays white.
        assert (np.asarray(image)[:, WIDTH - MARGIN + 2 :] == 255).all()


@pytest.mark.parametrize("fps", [float("nan"), 0.0, float("inf"), 1e9])
def test_rates_that_are_none(filmed: Filmed, tmp_path: Path, fps: float) -> None:
    sheet, shown = read(filmed(), tmp_path / "videos/s", LONG)
    draw_sheet(replace(sheet, row=replace(sheet.row, fps=fps)), shown)


def test_an_id_or_a_part_that_one_alone_has(filmed: Filmed) -> None:
    cache = filmed()
    assert match_video(cache, LONG) == LONG
    assert match_video(cache, "short-t") == "stop/short-t.mp4"
    with pytest.raises(CacheError, match="'go' is part of 2 ids") as refused:
        match_video(cache, "go")
    assert refused.value.details == ("go/long-s.mp4, go/long-t.mp4",)
    for typed in ("", "nobody", "GO/"):
        with pytest.raises(CacheError):
            match_video(cache, typed)


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(64, 48, (112, 84)), (1, 9999, (1, 96)), (9999, 1, (112, 1))]
)
def test_any_aspect_fits_the_box(width: int, height: int, expected: tuple[int, int]) -> None:
    assert boxed(width, height, BOX) == expected


def test_text_is_cut_in_its_middle_to_fit() -> None:
    face = font(14)
    assert fitting("short", face, 200) == "short"
    cut = fitting("set1/handshake/a-very-long-name-of-a-video-file-17_3_0.avi", face, 200)
    assert cut.startswith("set1/") and cut.endswith("_3_0.avi") and "…" in cut and face.getlength(cut) <= 200
    lines = wrapped("one two three four five six seven", face, 90)
    assert len(lines) > 2 and " ".join(lines) == "one two three four five six seven"
    assert all(face.getlength(line) <= 90 for line in lines)


@pytest.mark.parametrize("colour", ["INK", "QUIET", "BLUE", "ORANGE"])
def test_text_has_contrast(colour: str) -> None:
    def luminance(text: str) -> float:
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    assert (luminance(PAPER) + 0.05) / (luminance(getattr(drawing, colour)) + 0.05) >= 4.5


def test_without_matplotlib_there_is_a_font(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing.font.cache_clear()
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda name: None)
    page = Page(100, 40)
    assert page.text((2, 2), "bin 1") > 10
    drawing.font.cache_clear()

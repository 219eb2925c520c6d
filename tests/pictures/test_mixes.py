"""One draw of background mixing, seen by its grey levels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from greys import Filmed, levels, shown_at

from comix_fast.errors import CacheError, VideoError
from comix_fast.pictures import Footage, mixed_frames
from comix_fast.pictures.mixes import cached_draw, cached_plan, mix
from comix_fast.video import clip_frames

DOMAINS = (("source", "s"), ("target", "t"))
LONG, SHORT = "go/long-s.mp4", "stop/short-s.mp4"


def test_a_draw_is_the_one_that_the_cache_recorded(filmed: Filmed) -> None:
    cache = filmed()
    for view in ("bgmix-0", "bgmix-1"):
        recorded, draw = cache.clips(LONG, view), cached_draw(cache, LONG, view)
        assert (draw.donor, draw.gamma, draw.starts) == (recorded.donor, recorded.gamma, tuple(recorded.starts))
        assert draw.donor in ("go/long-t.mp4", "stop/short-t.mp4")
    for view in ("plain", "bgmix-7"):
        with pytest.raises(CacheError):
            cached_draw(cache, LONG, view)


@pytest.mark.parametrize("video", [LONG, SHORT])
def test_mixed_is_plain_and_background_by_gamma(filmed: Filmed, tmp_path: Path, video: str) -> None:
    cache = filmed()
    footage = Footage.of(cache, tmp_path / "videos/s")
    shown = mixed_frames(footage, cache, video, "bgmix-0", clip=3, quality=100)
    draw, plan = cached_draw(cache, video, "bgmix-0"), cached_plan(cache, video)
    assert (shown.donor, shown.gamma, shown.start) == (draw.donor, draw.gamma, draw.starts[3])
    numbers = clip_frames(plan, draw.starts[3])
    (behind,) = levels(shown.background)
    assert behind == pytest.approx(float(footage.background(draw.donor).mean()), abs=2)
    plain, mixed = shown_at(shown.plain), shown_at(shown.mixed)
    assert plain == pytest.approx([20 + 2 * number for number in numbers], abs=4)
    assert mixed == pytest.approx([(1 - draw.gamma) * level + draw.gamma * behind for level in plain], abs=4)
    # The first one is whole in any case.
    assert plain[0] == pytest.approx(20 + 2 * numbers[0], abs=1.5)
    assert mixed[0] == pytest.approx((1 - draw.gamma) * plain[0] + draw.gamma * behind, abs=1.5)
    assert (shown.width, shown.height) == ((64, 48) if video == LONG else (48, 64))


def test_the_middle_clip_where_none_is_named(filmed: Filmed, tmp_path: Path) -> None:
    cache = filmed()
    footage = Footage.of(cache, tmp_path / "videos/s")
    middle = cached_draw(cache, LONG, "bgmix-1").starts[8]
    assert mixed_frames(footage, cache, LONG, "bgmix-1").start == middle
    with pytest.raises(CacheError, match="has clips 0 to 15, not 16"):
        mixed_frames(footage, cache, LONG, "bgmix-1", clip=16)


def test_without_surveys_the_background_is_the_donor_s(filmed: Filmed, tmp_path: Path) -> None:
    cache = filmed()
    toml = tmp_path / "two.toml"
    domains = (f'[{role}]\nname = "{name}"\nroot = "videos/{name}"\ntrain = "videos/{name}"' for role, name in DOMAINS)
    toml.write_text("\n".join(('classes = ["go", "stop"]', *domains)))
    before = mixed_frames(Footage.of(cache, toml), cache, LONG, "bgmix-0")
    shutil.rmtree(cache.path / "surveys")
    assert mixed_frames(Footage.of(cache, toml), cache, LONG, "bgmix-0") == before
    with pytest.raises(VideoError):
        mixed_frames(Footage.of(cache, tmp_path / "videos/s"), cache, LONG, "bgmix-0")


def test_a_video_that_is_not_there(filmed: Filmed, tmp_path: Path) -> None:
    cache = filmed()
    with pytest.raises(VideoError, match="no file is known"):
        mixed_frames(Footage.of(cache), cache, LONG, "bgmix-0")
    assert np.isfinite(cached_draw(cache, LONG, "bgmix-0").gamma)


def test_the_formula_by_hand() -> None:
    frame, background = np.full((2, 2, 3), 200, np.uint8), np.full((2, 2, 3), 100, np.uint8)
    # 0.75 · 200 + 0.25 · 100
    assert (mix(frame, background, 0.25) == 175).all()
    assert np.array_equal(mix(frame, background, 0.0), frame)
    # 0.7 · 5 + 0.3 · 12 = 7.1
    assert mix(np.full((1, 1, 3), 5, np.uint8), np.full((1, 1, 3), 12, np.uint8), 0.3).tolist() == [[[7, 7, 7]]]

"""Where the videos of a cache are found, and where not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from greys import Filmed, WriteGrey

from builders import MakeCache
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.compact import compact
from comix_fast.cache.format import VideoRow
from comix_fast.cache.surveys import Surveys
from comix_fast.cache.whereabouts import Whereabouts, write_whereabouts
from comix_fast.errors import ComixError, VideoError
from comix_fast.pictures import Footage

LONG, SHORT = "go/long-s.mp4", "stop/short-s.mp4"


@pytest.fixture
def hinted(filmed: Filmed, tmp_path: Path) -> FeatureCache:
    cache = filmed()
    assert write_whereabouts(cache.path, Whereabouts(source=tmp_path / "videos/s", target=tmp_path / "videos/t"))
    return cache


def test_the_hint_leads_to_the_videos(hinted: FeatureCache, tmp_path: Path) -> None:
    footage = Footage.of(hinted)
    found = footage.video(LONG)
    assert found is not None and found.path == tmp_path / "videos/s/go/long-s.mp4"
    assert (footage.why, footage.video("nobody")) == ("", None)
    assert footage.n_frames(SHORT) == 30 and footage.n_frames("nobody") is None


def test_without_a_hint_it_says_what_to_give(filmed: Filmed) -> None:
    footage = Footage.of(filmed())
    assert footage.video(LONG) is None
    assert "are not known (another extract would note them): give --videos" in footage.why


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff\xfe", b'{"encoding-type": "comix-videos", "encoding-version": "9"}', b"[" * 9999]
)
def test_a_damaged_hint_is_no_error(hinted: FeatureCache, content: bytes) -> None:
    (hinted.path / "videos.json").write_bytes(content)
    footage = Footage.of(hinted)
    assert footage.video(LONG) is None and "--videos" in footage.why


def test_a_hint_that_somebody_edited_is_no_error(hinted: FeatureCache) -> None:
    path = hinted.path / "videos.json"
    stated = json.loads(path.read_text())
    stated["named"]["source"] = "/etc"
    path.write_text(json.dumps(stated))
    assert "not what was written" in Footage.of(hinted).reason


def test_videos_that_have_moved(hinted: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    footage = Footage.of(hinted)
    assert footage.video(LONG) is None and "not where they were" in footage.why
    # The page may be handed on, the terminal is here.
    assert str(tmp_path / "videos") not in footage.why and str(tmp_path / "videos/s") in footage.reason
    footage = Footage.of(hinted, tmp_path / "elsewhere/s")
    found = footage.video(LONG)
    assert found is not None and found.path == tmp_path / "elsewhere/s/go/long-s.mp4"
    assert footage.why.startswith("2 of 4 videos of")


def test_some_of_the_videos_are_gone(hinted: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "videos/s" / LONG).unlink()
    # The class folder is empty now, which a data set of two folders refuses: a list does not.
    (tmp_path / "s.csv").write_text(f"{LONG},go\n{SHORT},stop\n")
    toml = tmp_path / "two.toml"
    toml.write_text(
        'classes = ["go", "stop"]\n[source]\nname = "s"\nroot = "videos/s"\ntrain = "s.csv"\n'
        '[target]\nname = "t"\nroot = "videos/t"\ntrain = "videos/t"\n'
    )
    write_whereabouts(hinted.path, Whereabouts(toml=toml))
    footage = Footage.of(hinted)
    assert footage.why.startswith("1 of 4 videos of") and LONG in footage.why
    assert footage.video(LONG) is None and footage.video(SHORT) is not None
    assert Footage.of(hinted, toml).why == footage.why


def test_a_video_of_another_size_is_not_the_one_of_the_hint(hinted: FeatureCache, tmp_path: Path) -> None:
    with (tmp_path / "videos/s" / LONG).open("ab") as file:
        file.write(b"more")
    hint, given = Footage.of(hinted), Footage.of(hinted, tmp_path / "videos/s")
    assert hint.video(LONG) is None and hint.video(SHORT) is not None
    with pytest.raises(VideoError, match="not the file that was extracted"):
        hint.find(LONG)
    # Who names the place may have other copies there.
    assert given.video(LONG) is not None


def test_a_place_that_was_given_must_be_one(filmed: Filmed, tmp_path: Path) -> None:
    cache = filmed()
    with pytest.raises(ComixError, match="there is no"):
        Footage.of(cache, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ComixError, match="has no video of"):
        Footage.of(cache, tmp_path / "empty")
    (tmp_path / "odd.toml").write_text("=")
    with pytest.raises(ComixError, match="not TOML"):
        Footage.of(cache, tmp_path / "odd.toml")


def test_ids_do_not_lead_out_of_the_folder(tmp_path: Path, grey: WriteGrey, make_cache: MakeCache) -> None:
    grey(tmp_path / "out.mp4", 3)
    grey(tmp_path / "in/inside.mp4", 3)
    names = ("../out.mp4", "../out", str(tmp_path / "out.mp4"), "a/../../out.mp4", "..\\out.mp4", "\x00", "x" * 5000)
    cache = FeatureCache(make_cache("bare", mixes=0))
    rows = [VideoRow(name, 0, 72, 25.0, "0" * 64, 1) for name in (*names, "inside", "./inside.mp4")]
    with CacheWriter.open(tmp_path / "odd", cache.recipe) as writer, writer.shard("source") as shard:
        for row in rows[:5] + rows[6:]:
            shard.add(row, {"plain": cache.clips("source/0-0", "plain")})
        writer.write_dataset({name: cache.dataset[name] for name in ("classes", "notes", "source", "target")})
    footage = Footage.of(FeatureCache(tmp_path / "odd"), tmp_path / "in")
    assert [footage.video(name) for name in names] == [None] * len(names)
    for name in ("inside", "./inside.mp4"):
        found = footage.video(name)
        assert found is not None and found.path == tmp_path / "in/inside.mp4"


def test_a_background_comes_from_the_survey_or_the_video(hinted: FeatureCache) -> None:
    surveyed = Surveys(hinted.path, hinted.key).background(SHORT)
    assert np.array_equal(Footage.of(hinted).background(SHORT), surveyed)
    shutil.rmtree(hinted.path / "surveys")
    assert np.array_equal(Footage.of(hinted).background(SHORT), surveyed)
    (hinted.path / "videos.json").unlink()
    with pytest.raises(VideoError, match="no file is known"):
        Footage.of(hinted).background(SHORT)


def test_damaged_surveys_are_done_without(hinted: FeatureCache) -> None:
    expected = Footage.of(hinted).background(SHORT)
    for path in (hinted.path / "surveys").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(Footage.of(hinted).background(SHORT), expected)


def test_a_compacted_cache_has_no_hint(hinted: FeatureCache, tmp_path: Path) -> None:
    compact(hinted.path, tmp_path / "one.h5")
    cache = FeatureCache(tmp_path / "one.h5")
    assert "compacted cache does not say" in Footage.of(cache).why
    assert Footage.of(cache, tmp_path / "videos/s").video(SHORT) is not None

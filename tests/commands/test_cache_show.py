"""`comix cache show` as a user types it, and the hint that `comix extract` leaves for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builders import Ended, MakeCache, WriteVideo
from comix_fast.backbones import load_backbone
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.format import VideoRow, ViewClips
from comix_fast.cache.whereabouts import Whereabouts, read_whereabouts
from comix_fast.commands import extract as extract_command
from comix_fast.commands.cache_show import safe_name
from comix_fast.stages.extract import Extracted
from comix_fast.video import plan_clips

Comix = Callable[..., Ended]
ID = "set 1/<img src=x>.mp4"


@pytest.fixture
def cache(make_cache: MakeCache, film: WriteVideo, tmp_path: Path) -> Path:
    """A cache of one video of 75 frames, which lies under videos/."""
    like = FeatureCache(make_cache("like", mixes=0))
    path, plan = film(tmp_path / "videos" / ID, 75), plan_clips(75)
    features = np.zeros((plan.n_clips, 4), np.float16)
    clips = ViewClips(features, np.array(plan.starts, np.int64))
    with CacheWriter.open(tmp_path / "cache", like.recipe) as writer:
        with writer.shard("source") as shard:
            shard.add(VideoRow(ID, 1, 75, 25.0, "0" * 64, path.stat().st_size), {"plain": clips})
        writer.write_dataset({name: like.dataset[name] for name in ("classes", "notes", "source", "target")})
    return Path("cache")


def test_a_sheet_named_after_the_video(comix: Comix, cache: Path) -> None:
    ended = comix("cache", "show", cache, "img src", "--videos", "videos")
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"set-1-img-src-x-.mp4.png: {ID}, 16 bins, 1 views (plain); 1234×")
    with Image.open("set-1-img-src-x-.mp4.png") as image:
        assert (image.format, image.width) == ("PNG", 1234)
    # The same again, over the former one; over nothing else, unless it is named.
    assert comix("cache", "show", cache, ID, "--videos", "videos").code == 0
    Image.new("RGB", (8, 8)).save("set-1-img-src-x-.mp4.png")
    mine = Path("set-1-img-src-x-.mp4.png").read_bytes()
    refused = comix("cache", "show", cache, ID, "--videos", "videos")
    assert refused.code == 2 and "set-1-img-src-x-.mp4.png is there and is no sheet of" in refused.err
    assert Path("set-1-img-src-x-.mp4.png").read_bytes() == mine
    assert comix("cache", "show", cache, ID, "--videos", "videos", "--out", "set-1-img-src-x-.mp4.png").code == 0


def test_as_json(comix: Comix, cache: Path) -> None:
    ended = comix("cache", "show", cache, ID, "--videos", "videos", "--out", "a/b.png", "--json")
    said, plan = json.loads(ended.out), plan_clips(75)
    assert (said["file"], said["video"], said["label"]) == ("a/b.png", ID, "class 1")
    assert [row["starts"] for row in said["bins"]] == plan.bins
    assert [row["frames"][0] for row in said["bins"]] == plan.test_starts
    assert Path("a/b.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "--videos", "videos"), "has no video 'nobody'"),
        ((ID,), "the videos of cache are not known (another extract would note them): give --videos"),
        ((ID, "--videos", "nowhere"), "there is no nowhere"),
        ((ID, "--videos", "videos", "--out", "films.avi"), "is not the name of a PNG file"),
        ((ID, "--videos", "videos", "--speed", "2"), "no view 'speed-2'"),
    ],
)
def test_what_stands_against_it_is_said(comix: Comix, cache: Path, words: tuple[str, ...], said: str) -> None:
    ended = comix("cache", "show", cache, *words)
    assert (ended.code, ended.out) == (2, "") and said in ended.err
    assert not list(Path().glob("*.png"))


def test_a_broken_video(comix: Comix, cache: Path, film: WriteVideo) -> None:
    film(Path("videos") / ID, 74)
    assert "has 74 frames now; 75 when it was extracted" in comix("cache", "show", cache, ID, "--videos", "videos").err
    (Path("videos") / ID).write_bytes(b"no video")
    ended = comix("cache", "show", cache, ID, "--videos", "videos")
    assert ended.code == 2 and f"{ID} can't be shown: " in ended.err


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("set1/hug/18.avi", "set1-hug-18.avi.png"),
        ("../../etc/passwd", "etc-passwd.png"),
        ("/", "video.png"),
        (".hidden", "hidden.png"),
        ("a\x00b\n\u202ec", "a-b-c.png"),
        ("押す/1", "押す-1.png"),
        ("-rf", "rf.png"),
    ],
)
def test_names_of_files_lead_nowhere(video: str, name: str) -> None:
    assert safe_name(video) == name


def test_long_ids_have_names_that_a_file_system_takes() -> None:
    for sign in ("x/", "押", "é", "𓀀"):
        name = safe_name(f"{sign * 500}y.mp4")
        assert 190 < len(name.encode()) <= 204 and name.endswith("y.mp4.png")


def test_extract_leaves_the_hint(
    comix: Comix, film: WriteVideo, make_cache: MakeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing is left to extract."""
    for number, name in enumerate(("a/go/1", "a/stop/2", "b/go/1", "b/stop/2")):
        film(tmp_path / f"{name}.mp4", 72, seed=number)

    def done(crew: object, job: object, dataset: object, out: Path, *_: object, **__: object) -> Extracted:
        return Extracted(out, 0, 4, ())

    make_cache("ab")
    monkeypatch.setattr(extract_command, "load_backbone", lambda *_, **__: load_backbone("i3d", "random", "fp32"))
    monkeypatch.setattr(extract_command, "run_with", done)
    words = ("extract", "--source", "a", "--target", "b", "--weights", "random", "--out", "ab", "--json")
    for _ in range(2):
        assert comix(*words).code == 0
        assert read_whereabouts(tmp_path / "ab") == Whereabouts(source=tmp_path / "a", target=tmp_path / "b")
        (tmp_path / "ab/videos.json").unlink()
    monkeypatch.setattr(extract_command, "write_whereabouts", lambda *_: False)
    ended = comix(*words)
    assert ended.code == 0 and "ab takes no note of where its videos are" in ended.err

"""Pictures on maps: each once, only of videos that are there, never beyond the page's room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import adapted, gathered

from builders import MakeCache, WriteVideo
from comix_fast.errors import ComixError
from comix_fast.report.gathering import MapAsked, PicturesAsked

WITH_MAP = MapAsked(k=1)
SEEN = ("source/0-0", "target/1-2", "target/2-5")


@pytest.fixture
def videos(tmp_path: Path, film: WriteVideo) -> Path:
    """Films of three of a cache's videos."""
    for number, name in enumerate(SEEN):
        film(tmp_path / "videos" / f"{name}.mp4", 72, seed=number)
    return tmp_path / "videos"


def test_each_video_has_its_picture_once(make_cache: MakeCache, tmp_path: Path, videos: Path) -> None:
    cache = make_cache()
    runs = [adapted(cache, tmp_path / name) for name in ("a", "b")]
    values = gathered(*runs, maps=WITH_MAP, pictures=PicturesAsked(videos))
    pictures = values["pictures"]
    assert pictures["kind"] == "still" and len(pictures["items"]) == 3
    assert all(
        item["src"].startswith("data:image/webp;base64,") and item["w"] > item["h"] for item in pictures["items"]
    )
    shown = [
        {v["id"]: v["picture"] for v in run["map"]["videos"] if v["picture"] is not None} for run in values["runs"]
    ]
    assert shown[0] == shown[1] and shown[0].keys() == set(SEEN)
    assert sorted(shown[0].values()) == [0, 1, 2]
    assert "33 of 36 videos" in pictures["note"]
    assert {run["map"]["picture_note"] for run in values["runs"]} == {pictures["note"]}


def test_two_caches_have_pictures_of_their_own(make_cache: MakeCache, tmp_path: Path, videos: Path) -> None:
    runs = [adapted(make_cache(name), tmp_path / f"run-{name}") for name in ("one", "two")]
    values = gathered(*runs, maps=WITH_MAP, pictures=PicturesAsked(videos))
    numbers = [{v["picture"] for v in run["map"]["videos"]} - {None} for run in values["runs"]]
    assert numbers == [{0, 1, 2}, {3, 4, 5}]


def test_pictures_keep_to_the_room_that_is_left(make_cache: MakeCache, tmp_path: Path, videos: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")

    def taken(size: int, cap: int) -> dict[str, Any]:
        return gathered(run, maps=WITH_MAP, pictures=PicturesAsked(videos), size=lambda values: size, cap=cap)

    whole = taken(0, 10**7)["pictures"]
    full = sum(len(item["src"]) for item in whole["items"])
    tight = taken(10**6, 10**6 + full // 2)
    assert tight["pictures"]["kind"] == "none" or sum(len(i["src"]) for i in tight["pictures"]["items"]) <= full // 2
    assert "--max-size" in tight["pictures"]["note"] and not tight["notes"]
    none = taken(10**6, 10**6 - 1)
    assert none["pictures"]["items"] == [] and "no room" in none["pictures"]["note"]
    assert any("more than the 1.0 MB of --max-size" in note for note in none["notes"])
    assert all(video["picture"] is None for video in none["runs"][0]["map"]["videos"])


def test_no_pictures_where_none_are_wanted_or_to_be_had(make_cache: MakeCache, tmp_path: Path, videos: Path) -> None:
    run = adapted(make_cache(), tmp_path / "run")
    asked = gathered(run, maps=WITH_MAP)
    assert (asked["pictures"]["kind"], asked["pictures"]["note"]) == ("none", "no pictures of videos, as asked")
    assert "there is none" in gathered(run, pictures=PicturesAsked(videos))["pictures"]["note"]
    unknown = gathered(run, maps=WITH_MAP, pictures=PicturesAsked())
    assert "--videos" in unknown["pictures"]["note"] and unknown["runs"][0]["map"]
    with pytest.raises(ComixError, match="has no video of"):
        gathered(run, maps=WITH_MAP, pictures=PicturesAsked(tmp_path / "run"))

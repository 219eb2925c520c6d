"""`comix retrieve --html` as a user types it: what is written where, what the page holds, what stands against it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import Ended, MakeCache, WriteVideo
from comix_fast.cache import FeatureCache

Comix = Callable[..., Ended]
WORDS = ("retrieve", "--from-cache", "cache", "-k", "3", "--html")


@pytest.fixture
def cache(make_cache: MakeCache, film: WriteVideo, tmp_path: Path) -> FeatureCache:
    """Six videos a domain, two draws of mixing each, the videos under videos/."""
    cache = FeatureCache(make_cache(per_class=2))
    for number, video in enumerate(sorted(cache.extracted)):
        film(tmp_path / f"videos/{video}.mp4", cache.row(video).n_frames, number)
    return cache


def values_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="values">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values


def test_a_page_beside_the_json_with_the_same_neighbours(comix: Comix, cache: FeatureCache) -> None:
    ended = comix(*WORDS, "--videos", "videos")
    assert ended.code == 0, ended.err
    page = Path("runs/cache-retrieval-target-source.html")
    assert f"gallery {page}, " in ended.out and "moving previews of all 12 videos" in ended.out
    values, written = values_of(page), json.loads(page.with_suffix(".json").read_text())
    ids = values["videos"]["ids"]
    for space in values["spaces"]:
        queries = written["spaces"][space["name"]]["queries"]
        assert [ids[number] for number in values["queries"]] == [query["id"] for query in queries]
        near = [one for query in queries for one in query["neighbours"]]
        assert [ids[number] for number in space["neighbours"]] == [one["id"] for one in near]
        kept = [number / values["steps"] for number in space["similarities"]]
        assert kept == pytest.approx([one["similarity"] for one in near], abs=2e-6)
        assert space["scores"] == [
            {"name": one["name"], "value": one["value"]} for one in written["spaces"][space["name"]]["scores"]
        ]
    assert values["pictures"]["moving"] and all(
        one.startswith("data:image/webp") for one in values["pictures"]["sources"]
    )


def test_draws_of_mixing_are_those_of_the_cache(comix: Comix, cache: FeatureCache) -> None:
    assert comix(*WORDS, "--videos", "videos", "--page", "out/g.html", "--mix-examples", "6").code == 0
    draws = values_of(Path("out/g.html"))["mixes"]
    assert [draw["domain"] for draw in draws] == [0, 1] * 3 and len({draw["video"] for draw in draws}) == 6
    for draw in draws:
        recorded = cache.clips(draw["video"], draw["view"])
        assert draw["donor"] == recorded.donor and draw["gamma"] == pytest.approx(recorded.gamma, abs=1e-4)
        assert draw["start"] in recorded.starts and draw["donor_domain"] == 1 - draw["domain"]
        assert all(draw[name].startswith("data:image/webp;base64,") for name in ("plain", "background", "mixed"))
    # The same again is the same page.
    first = Path("out/g.html").read_bytes()
    assert comix(*WORDS, "--videos", "videos", "--page", "out/g.html", "--mix-examples", "6").code == 0
    assert Path("out/g.html").read_bytes() == first
    assert comix(*WORDS, "--videos", "videos", "--page", "none.html", "--mix-examples", "0").code == 0
    assert values_of(Path("none.html"))["mixes"] == []


def test_without_pictures_and_with_little_room(comix: Comix, cache: FeatureCache) -> None:
    assert comix(*WORDS, "--no-pictures", "--page", "bare.html").code == 0
    bare = values_of(Path("bare.html"))
    assert bare["pictures"]["sources"] == [] and bare["mixes"] == []
    assert "data:image" not in Path("bare.html").read_text(encoding="utf-8")
    # Where videos are not known, the page is there, and says what to do.
    assert comix(*WORDS, "--page", "unknown.html").code == 0
    assert "give --videos" in Path("unknown.html").read_text(encoding="utf-8")
    ended = comix(*WORDS, "--videos", "videos", "--max-size", "0.1", "--page", "small.html")
    assert ended.code == 0 and Path("small.html").stat().st_size <= 100_000
    assert "--max-size" in ended.out and "--max-size" in Path("small.html").read_text(encoding="utf-8")


def test_a_video_that_cannot_be_read_is_passed_over_and_named(comix: Comix, cache: FeatureCache) -> None:
    broken = Path("videos/target/0-0.mp4")
    broken.write_bytes(b"nothing")
    ended = comix(*WORDS, "--videos", "videos", "--json")
    assert ended.code == 0
    said = json.loads(ended.out)["page"]
    assert any("1 of 12 videos could not be shown: target/0-0" in note for note in said["notes"])
    values = values_of(Path(said["path"]))
    sources = dict(zip(values["videos"]["ids"], values["pictures"]["sources"], strict=True))
    assert sources["target/0-0"] == 0 and sum(bool(source) for source in sources.values()) == 11


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--page", "gallery.pdf"), "--page gallery.pdf names no page"),
        (("--videos", "nowhere"), "there is no nowhere"),
        (("--max-size", "inf"), "--max-size inf is no number of MB"),
        (("--out", "found.html"), "--out found.html is not the name of a JSON file"),
    ],
)
def test_what_stands_against_it_is_said_before_the_search(
    comix: Comix, cache: FeatureCache, words: tuple[str, ...], said: str
) -> None:
    ended = comix(*WORDS, *words)
    assert (ended.code, ended.out) == (2, "") and said in ended.err
    assert not Path("runs").exists()


def test_a_page_is_asked_for_with_html(comix: Comix, cache: FeatureCache) -> None:
    for words in (("--videos", "videos"), ("--max-size", "4"), ("--no-pictures",), ("--mix-examples", "3")):
        ended = comix(*WORDS[:-1], *words)
        assert ended.code == 2 and "add --html" in ended.err


def test_no_other_file_is_replaced_unasked(comix: Comix, cache: FeatureCache) -> None:
    Path("notes.html").write_text("<p>mine")
    Path("run.json").write_text('{"form": "1"}')
    Path("list.json").write_text("[1, 2")
    for words, said in (
        (("--out", "notes.json"), "notes.html is there and is no former page of this kind"),
        (("--out", "run.json"), "run.json is there and is no former result of comix retrieve"),
        (("--out", "list.json"), "list.json is there and is no former result of comix retrieve"),
    ):
        ended = comix(*WORDS, "--no-pictures", *words)
        assert (ended.code, ended.out) == (2, "") and said in ended.err
    assert Path("notes.html").read_text() == "<p>mine" and not Path("notes.json").exists()
    assert Path("run.json").read_text() == '{"form": "1"}'
    # Its own files it replaces, and what is named.
    for _ in range(2):
        assert comix(*WORDS, "--no-pictures", "--out", "g.json").code == 0
    assert comix(*WORDS, "--no-pictures", "--page", "notes.html").code == 0
    assert "comix-page" in Path("notes.html").read_text(encoding="utf-8")


def test_the_other_way_about_draws_of_mixing_change_their_domains_too(comix: Comix, cache: FeatureCache) -> None:
    words = ("--reverse", "--warmstart-iterations", "4", "--iterations", "0", "--eval-every", "4")
    assert comix("adapt", "--from-cache", "cache", "--name", "back", *words).code == 0
    assert (
        comix(*WORDS, "--run", "runs/back", "--videos", "videos", "--page", "g.html", "--mix-examples", "6").code == 0
    )
    values = values_of(Path("g.html"))
    assert values["domains"] == [cache.names["target"], cache.names["source"]]
    assert len(values["mixes"]) == 6
    for draw in values["mixes"]:
        assert values["domains"][draw["domain"]] == cache.names[cache.domain(draw["video"])]
        assert draw["donor_domain"] == 1 - draw["domain"]

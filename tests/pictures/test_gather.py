"""Pictures of many videos within a budget, and what is said where it is not enough."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from builders import Interrupting, MakeCache, WriteVideo
from comix_fast.cache import CacheWriter, FeatureCache
from comix_fast.cache.format import VideoRow
from comix_fast.console import Silent
from comix_fast.datasets import Video
from comix_fast.pictures import Footage, Pictures, gather_pictures
from comix_fast.pictures import gather as module

N_FRAMES = 24


@pytest.fixture
def many(tmp_path: Path, film: WriteVideo, make_cache: MakeCache) -> Callable[..., Footage]:
    """A cache of so many small videos, which lie under tmp_path/videos; names of ids may be given."""

    def make(count: int = 6, names: tuple[str, ...] = ()) -> Footage:
        like = FeatureCache(make_cache("like", mixes=0))
        ids = [*names, *(f"v{number:02}.mp4" for number in range(count))]
        clips = like.clips("source/0-0", "plain")
        with CacheWriter.open(tmp_path / "many", like.recipe) as cache:
            with cache.shard("source") as shard:
                for seed, name in enumerate(ids):
                    path = film(tmp_path / "videos" / name, N_FRAMES, seed, (96, 128))
                    shard.add(VideoRow(name, 0, N_FRAMES, 25.0, "0" * 64, path.stat().st_size), {"plain": clips})
            cache.write_dataset({name: like.dataset[name] for name in ("classes", "notes", "source", "target")})
        return Footage.of(FeatureCache(tmp_path / "many"), tmp_path / "videos")

    return make


def gather(footage: Footage, kind: str = "preview", cap: float = 1e9, threads: int = 2) -> Pictures:
    ids = sorted(footage.cache.extracted)
    return gather_pictures(footage, ids, kind=kind, cap_bytes=int(cap), reporter=Silent(), threads=threads)  # type: ignore[arg-type]


def test_previews_where_there_is_room(many: Callable[..., Footage]) -> None:
    pictures = gather(many())
    assert (pictures.kind, pictures.note, pictures.unread) == ("preview", "moving previews of all 6 videos", {})
    picture = pictures.by_id["v03.mp4"]
    assert (picture.kind, picture.width, picture.height) == ("preview", 112, 84)
    content = base64.b64decode(picture.data_uri.removeprefix("data:image/webp;base64,"), validate=True)
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.size, opened.n_frames) == ((112, 84), 12)  # type: ignore[attr-defined]
    assert pictures.n_bytes == sum(len(one.data_uri) for one in pictures.by_id.values())
    assert list(pictures.by_id) == sorted(pictures.by_id)


def test_each_fallback_is_taken_and_said(many: Callable[..., Footage]) -> None:
    footage = many()
    moving, still = gather(footage), gather(footage, "still")
    assert still.kind == "still" and still.by_id["v00.mp4"].width == 128
    assert still.note == "stills of all 6 videos"

    exact = gather(footage, cap=moving.n_bytes)
    assert exact.by_id == moving.by_id

    less = gather(footage, cap=moving.n_bytes - 1)
    assert less.by_id == still.by_id and less.n_bytes <= moving.n_bytes - 1
    assert less.note.startswith("stills instead of moving previews: 6 moving previews would take ")
    assert less.note.endswith("kB of them (--max-size)")

    small = gather(footage, cap=still.n_bytes - 1)
    assert small.kind == "still" and small.by_id["v00.mp4"].width == 64 and small.n_bytes < still.n_bytes
    assert small.note.startswith("small stills instead of moving previews") and "6 stills would take" in small.note
    assert gather(footage, "still", still.n_bytes - 1).note.startswith("small stills instead of stills")

    none = gather(footage, cap=small.n_bytes - 1)
    assert (none.kind, none.by_id, none.n_bytes) == ("none", {}, 0)
    assert none.note.startswith("no pictures instead of moving previews") and "6 small stills would take" in none.note


def test_an_estimate_from_a_sample_spares_the_rest(
    many: Callable[..., Footage], monkeypatch: pytest.MonkeyPatch
) -> None:
    footage = many(12)
    monkeypatch.setattr(module, "SAMPLED", 3)
    made: list[str] = []
    preview = module.preview

    def counting(video: Video, *words: Any, **options: Any) -> bytes:
        made.append(video.id)
        return preview(video, *words, **options)

    monkeypatch.setattr(module, "preview", counting)
    assert gather(footage, cap=20_000).kind == "still"
    # From the middles of three equal parts.
    assert sorted(made) == ["v02.mp4", "v06.mp4", "v10.mp4"]
    made.clear()
    pictures = gather(footage)
    assert sorted(made) == sorted(pictures.by_id) and len(made) == 12


def test_a_sample_that_promised_too_much(many: Callable[..., Footage], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampled pictures are small, the others are not: then the sum decides as they are made."""
    footage = many(12)
    monkeypatch.setattr(module, "SAMPLED", 3)
    sampled = {"v02.mp4", "v06.mp4", "v10.mp4"}
    encoded = module.still(footage.find("v00.mp4"), N_FRAMES)
    monkeypatch.setattr(
        module, "preview", lambda video, *_, **__: encoded if video.id in sampled else encoded + bytes(50_000)
    )
    pictures = gather(footage, cap=100_000)
    assert pictures.kind == "still" and len(pictures.by_id) == 12
    assert pictures.note.startswith("stills instead of moving previews")


def test_threads_change_nothing(many: Callable[..., Footage]) -> None:
    footage = many()
    one, three = gather(footage, threads=1), gather(footage, threads=3)
    assert one == three


def test_a_broken_video_among_good_ones(many: Callable[..., Footage], tmp_path: Path) -> None:
    footage = many(4)
    (tmp_path / "videos/v01.mp4").write_bytes(b"no video")
    (tmp_path / "videos/v02.mp4").unlink()
    pictures = gather(footage)
    assert sorted(pictures.by_id) == ["v00.mp4", "v03.mp4"]
    assert list(pictures.unread) == ["v01.mp4", "v02.mp4"]
    assert pictures.note.startswith("moving previews of 2 videos; 2 of 4 videos could not be shown: v01.mp4 (")
    assert str(tmp_path) not in pictures.note
    # What could not be read is known, and counted, when another form is tried.
    less = gather(footage, cap=pictures.n_bytes - 1)
    assert less.note.startswith("stills instead of moving previews: 2 moving previews would take")
    assert "; 2 of 4 videos could not be shown: v01.mp4 (" in less.note


def test_no_video_can_be_found(many: Callable[..., Footage]) -> None:
    footage = Footage.of(many(3).cache)
    pictures = gather(footage)
    assert (pictures.kind, pictures.by_id) == ("none", {})
    assert pictures.note == f"no pictures: {footage.why}"


def test_as_asked(many: Callable[..., Footage]) -> None:
    footage = many(2)
    assert gather(footage, "none").note == "no pictures of videos, as asked"
    nothing = gather_pictures(footage, [], kind="preview", cap_bytes=9, reporter=Silent())
    assert (nothing.by_id, nothing.note) == ({}, "no videos to show")
    twice = gather_pictures(footage, ["v01.mp4"] * 3, kind="still", cap_bytes=9**9, reporter=Silent())
    assert list(twice.by_id) == ["v01.mp4"] and twice.get("v00.mp4") is None


def test_names_are_kept_as_they_are_and_shown_printable(many: Callable[..., Footage], tmp_path: Path) -> None:
    odd = "<img src=x onerror=alert(1)>.mp4"
    footage = many(1, (odd,))
    pictures = gather(footage)
    assert odd in pictures.by_id
    (tmp_path / "videos" / odd).write_bytes(b"")
    # Text for whoever sets it: escaping is the page's work.
    assert f"could not be shown: {odd} (" in gather(footage).note
    bell = gather_pictures(footage, ["\x1b[2J"], kind="still", cap_bytes=9**9, reporter=Silent())
    assert "\x1b" not in bell.note and "\\x1b[2J (no file is known)" in bell.note


def test_ctrl_c_leaves_no_thread(many: Callable[..., Footage]) -> None:
    footage = many(4)
    with pytest.raises(KeyboardInterrupt):
        gather_pictures(
            footage, sorted(footage.cache.extracted), kind="preview", cap_bytes=9**9, reporter=Interrupting(2)
        )
    assert not [thread for thread in threading.enumerate() if "comix-pictures" in thread.name]

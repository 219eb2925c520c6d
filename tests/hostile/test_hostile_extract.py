"""`comix extract` over what strangers send: what can't be read is one video's failure, never the end of the run."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import mux, png, png_that_declares

from builders import Ended, WriteVideo
from comix_fast.cache import FeatureCache

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a backbone of three small convolutions, from tests/training, for clips of 224 pixels."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "training")
    module = importlib.import_module("tiny")
    monkeypatch.setattr(module, "CLIP_SIZE", 224)
    return str(module.register(monkeypatch.setattr))


def test_extract_goes_on_past_all_of_them(
    comix: Callable[..., Ended], film: WriteVideo, tmp_path: Path, tiny: str
) -> None:
    for number, name in enumerate(("a/go/1", "a/stop/2", "b/go/1", "b/stop/2")):
        film(tmp_path / f"{name}.mp4", 24, seed=number)
    hostile = tmp_path / "a" / "go"
    os.mkfifo(hostile / "pipe.mp4")
    (hostile / "zero.avi").symlink_to("/dev/zero")
    (hostile / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    mux(hostile / "large.mov", "png", [png(9_000, 9_000)] * 2, (12, 16))
    (hostile / "frames").mkdir()
    (hostile / "frames" / "1\x1b[2J.png").write_bytes(png_that_declares(60_000, 60_000))
    (hostile / "notes\x1b]0;owned\x07.txt").touch()

    words = ("--weights", "random", "--views", "plain", "--precision", "fp32", "--no-compile", "--threads", 1)
    done = comix("extract", "--source", "a", "--target", "b", "--out", "cache", *words, "--backbone", tiny)
    assert done.code == 1, done.err
    listed = json.loads((tmp_path / "cache" / "failures.json").read_text())["failures"]
    failures = {one["id"].removeprefix("a/"): one["reason"] for one in listed}
    assert failures == {
        "go/pipe.mp4": "is a pipe, not a file",
        "go/zero.avi": "is a device, not a file",
        "go/list.mp4": failures["go/list.mp4"],
        "go/large.mov": "has pictures of 9,000×9,000 = 81,000,000 pixels, more than the 67,108,864 allowed "
        "(--max-pixels sets the limit, 0 lifts it)",
        "go/frames": r"1\x1b[2J.png has pictures of 60,000×60,000 = 3,600,000,000 pixels, more than the 67,108,864 "
        "allowed (--max-pixels sets the limit, 0 lifts it)",
    }
    assert failures["go/list.mp4"].startswith("is not a video")
    assert len(FeatureCache(tmp_path / "cache").extracted) == 4
    for printed in (done.out, done.err):
        assert all(line.isprintable() for line in printed.split("\n")), printed
    assert "videos that could not be read: 5" in done.out


def test_limits_are_options_and_no_part_of_the_recipe(
    comix: Callable[..., Ended], film: WriteVideo, tmp_path: Path, tiny: str
) -> None:
    for number, name in enumerate(("a/go/1", "a/stop/2", "b/go/1", "b/stop/2")):
        film(tmp_path / f"{name}.mp4", 20 + 8 * (number == 0), seed=number)
    words = ("--weights", "random", "--views", "plain", "--precision", "fp32", "--no-compile", "--backbone", tiny)
    extract = ("extract", "--source", "a", "--target", "b", "--out", "cache", "--threads", 1, *words)
    done = comix(*extract, "--max-frames", 20, "--json")
    assert done.code == 1
    assert [one["reason"] for one in json.loads(done.out)["failures"]] == [
        "has 21 frames or more, more than the 20 allowed (--max-frames sets the limit, 0 lifts it)"
    ]
    again = comix(*extract, "--max-frames", 0, "--max-pixels", 0, "--max-seconds", 0, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["extracted"] == 1
    refused = comix(*extract, "--max-seconds", "nan")
    assert refused.code == 2
    assert "--max-seconds" in refused.err

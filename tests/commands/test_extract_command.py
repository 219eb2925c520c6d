"""What `comix extract` decides before stage one begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from builders import MakeCache, WriteVideo
from comix_fast.backbones import Backbone, load_backbone
from comix_fast.cli import app
from comix_fast.commands import extract as command
from comix_fast.commands.extract import Engine, choose_compiled
from comix_fast.config import ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import Dataset, check_files, load_folders
from comix_fast.stages.pipeline_first import first_clips
from comix_fast.stages.planning import least_clips
from comix_fast.video import choose_decoder, open_stream, resize_frame

VIEWS = ViewPlan((), 1)
PYAV = choose_decoder("pyav")


@pytest.fixture
def films(tmp_path: Path, film: WriteVideo) -> Dataset:
    for number, (name, n_frames) in enumerate((("a/go/1", 80), ("a/stop/2", 30), ("b/go/1", 90), ("b/stop/2", 75))):
        film(tmp_path / f"{name}.mp4", n_frames, seed=number)
    return check_files(load_folders(tmp_path / "a", tmp_path / "b"))


class Listening(Silent):
    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.mark.parametrize(("which", "repeat"), [(0, 1), (1, 3)])
def test_the_first_clips_are_those_of_the_plan(films: Dataset, which: int, repeat: int) -> None:
    video = films.source.train[which]
    with open_stream(video.path, None, PYAV) as stream:
        frames = [resize_frame(frame) for frame in stream]
    slowed = [frame for frame in frames for _ in range(repeat)]
    clips = first_clips([video], PYAV)
    assert clips is not None
    assert clips.shape == (2, 3, 8, 224, 224)
    for number, clip in enumerate(clips):
        expected = np.stack(slowed[4 * number : 4 * number + 8]).astype(np.float64) / 127.5 - 1
        np.testing.assert_allclose(clip.permute(1, 2, 3, 0).numpy(), expected, atol=1e-6)


def test_videos_that_can_not_be_read_are_passed_over(films: Dataset) -> None:
    expected = first_clips(films.source.train[1:], PYAV)
    films.source.train[0].path.write_bytes(b"no video")
    found = first_clips(films.videos(), PYAV)
    assert expected is not None
    assert found is not None
    assert torch.equal(found, expected)
    for video in films.videos():
        video.path.write_bytes(b"")
    assert first_clips(films.videos(), PYAV) is None


def test_the_backbone_is_checked_on_them(films: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def loading(*words: Any, **options: Any) -> Backbone:
        given.append(options)
        return load_backbone("i3d", "random", "fp32")

    monkeypatch.setattr(command, "load_backbone", loading)
    for precision in ("auto", "fp32"):
        command.load(Engine(precision=precision), films, VIEWS, tmp_path / "cache", "cpu", PYAV)
    expected = first_clips(films.videos(), PYAV)
    assert torch.equal(given[0]["check"], expected)
    assert given[1]["check"] is None
    assert [options["compiled"] for options in given] == [False, False]


def test_falling_back_to_fp32_is_said_aloud(films: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(*_: Any, **__: Any) -> Backbone:
        backbone = load_backbone("i3d", "random", "fp32")
        backbone.precision_note = "fp32, as bf16 features of the first 2 clips differ"
        return backbone

    monkeypatch.setattr(command, "load_backbone", loading)
    monkeypatch.setattr(command, "run_with", lambda *_, **__: None)
    listening = Listening()
    command.run(films, tmp_path / "cache", Engine(), VIEWS, listening)
    assert "computing in fp32, as bf16 features of the first 2 clips differ" in listening.warned


def test_the_estimate_of_clips_hangs_on_the_dataset_alone(films: Dataset) -> None:
    # Two videos a side, each of 16 clips in plain and in speed-2 and of 16 in each of three mixes.
    assert least_clips(films, ViewPlan((2,), 3)) == 4 * 16 * (2 + 3)
    assert least_clips(films, ViewPlan((), 0)) == 4 * 16


def test_who_decides_whether_to_compile(
    films: Dataset, tmp_path: Path, make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str, str]] = []

    def paying(n_clips: int, device: torch.device, precision: str) -> bool:
        asked.append((n_clips, device.type, precision))
        return True

    able = [True]
    monkeypatch.setattr(command, "pays", paying)
    monkeypatch.setattr(command, "can_compile", lambda device: able[0])
    nothing, cache = tmp_path / "nothing", make_cache()
    assert choose_compiled(Engine(compiled=True), films, VIEWS, cache, "cpu")
    assert not choose_compiled(Engine(compiled=False), films, VIEWS, nothing, "cpu")
    # The cache there was made without: going on with it needs the same.
    assert not choose_compiled(Engine(), films, VIEWS, cache, "cpu")
    assert asked == []
    assert choose_compiled(Engine(), films, VIEWS, nothing, "cuda:0")
    assert choose_compiled(Engine(precision="fp32"), films, VIEWS, nothing, "cpu")
    assert asked == [(128, "cuda", "bf16"), (128, "cpu", "fp32")]
    # Nobody who did not ask for it is stopped by a compiler that is not here.
    able[0] = False
    assert not choose_compiled(Engine(precision="fp32"), films, VIEWS, nothing, "cpu")


def test_compiling_can_be_asked_for_and_refused() -> None:
    text = CliRunner().invoke(app, ["extract", "--help"], env={"COLUMNS": "200"}).output
    assert "--compile" in text
    assert "--no-compile" in text

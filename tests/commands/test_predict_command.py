"""`comix predict` as a user types it, on a hand-made run."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from builders import Ended, WriteVideo, small_recipe
from comix_fast.backbones import load_backbone
from comix_fast.config import AdaptRecipe, ViewPlan
from comix_fast.heads import make_head
from comix_fast.stages.bank import Standardise
from comix_fast.stages.runs import RunFolder, save_tensors

CLASSES = ("go [red]", "st\x1b[31mop", "wave")
SHA = "a" * 64


class Corners(nn.Module):
    """Stands for I3D: a hundred pixels of the first frame."""

    name, weights_name, weights_sha256, precision, warning = "i3d", "random", SHA, "fp32", "these weights are random"
    feature_dim = 100

    def forward(self, clips: Tensor) -> Tensor:
        return clips[:, 0, 0, ::23, ::23].flatten(1)


def make_run(root: Path, backbone: dict[str, Any], dim: int) -> Path:
    recipe = AdaptRecipe(head="linear", statistics="mean+std")
    meta = {
        "cache": str(root / "gone"), "cache_key": "0" * 64, "dataset": {}, "recipe": recipe.to_json(),
        "source": "a", "target": "b", "classes": list(CLASSES), "in_dim": 2 * dim,
        "features": small_recipe(views=ViewPlan((), 0), backbone=backbone).to_json(),
    }  # fmt: skip
    run = RunFolder.make(root, meta)
    norm = Standardise(torch.zeros(2 * dim), torch.ones(2 * dim))
    run.save_norms(norm, norm)
    head = make_head("linear", 2 * dim, 8, len(CLASSES), 0.0, "fp32")
    weight = 0.1 * torch.randn(2 * dim, len(CLASSES), generator=torch.Generator().manual_seed(0))
    for name in ("source-only", "last"):
        save_tensors(run.seed(0).head_path(name), head.state_dict() | {"weight": weight})
    return root


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("comix_fast.serving.model.load_backbone", lambda *words: Corners())
    recorded = {"name": "i3d", "weights": "random", "weights_sha256": SHA, "precision": "fp32"}
    return make_run(tmp_path / "run", recorded, Corners.feature_dim)


@pytest.fixture
def videos(tmp_path: Path, film: WriteVideo) -> Path:
    for number, name in enumerate(("10.mp4", "2.mp4", "in [bold]/3.mp4")):
        film(tmp_path / "new" / name, 20, seed=number)
    return tmp_path / "new"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_real_backbone_of_a_run(comix: Callable[..., Ended], tmp_path: Path, film: WriteVideo) -> None:
    run = make_run(tmp_path / "run", load_backbone("i3d", "random", "fp32").recipe(), 1024)
    film(tmp_path / "new.mp4", 20)
    done = comix("predict", run, "new.mp4", "--top-k", "2", "--threads", "2")
    assert done.code == 0
    assert "warning: the backbone's weights are random" in done.err
    assert "i3d, random weights, fp32 on cpu; head last of seed 0, features standardised as the target's" in done.err
    assert "classifying videos: 1/1 videos" in done.err
    assert done.out.splitlines()[1].startswith("new.mp4")


def test_a_table_of_the_likeliest_classes(comix: Callable[..., Ended], run: Path, videos: Path) -> None:
    done = comix("predict", run, "new", "--quiet")
    assert (done.code, done.err) == (0, "warning: these weights are random\n")
    head, *rows = done.out.splitlines()
    assert head.split() == ["video", "class", "%", "then"]
    assert [row.split("  ")[0] for row in rows] == ["new/2.mp4", "new/10.mp4", "new/in [bold]/3.mp4"]
    for row in rows:
        assert "go [red] " in row
        assert r"st\x1b[31mop" in row
    assert "\x1b" not in done.out


def test_json_has_every_probability(comix: Callable[..., Ended], run: Path, videos: Path) -> None:
    done = comix("predict", run, "new/2.mp4", "--json", "--head", "source-only", "--domain", "source")
    answer = json.loads(done.out)
    assert (done.code, answer["run"], answer["seed"], answer["head"]) == (0, str(run), 0, "source-only")
    assert (answer["domain"], answer["classes"], answer["failures"]) == ("source", list(CLASSES), [])
    (video,) = answer["videos"]
    assert (video["path"], video["n_frames"]) == ("new/2.mp4", 20)
    assert {one["class"] for one in video["top"]} == set(CLASSES)
    assert sum(one["probability"] for one in video["top"]) == pytest.approx(1)


def test_bad_files_are_listed_and_the_others_classified(comix: Callable[..., Ended], run: Path, videos: Path) -> None:
    (videos / "5.mp4").write_bytes(b"no video")
    (videos / "6\x1b[31m.mp4").write_bytes(b"")
    done = comix("predict", run, "new", "absent.mp4")
    assert done.code == 1
    assert "videos that could not be read: 3 of 6" in done.out
    assert "  new/5.mp4: is not a video that can be read" in done.out
    assert r"  new/6\x1b[31m.mp4: is empty (0 bytes)" in done.out
    assert "  absent.mp4: can't be opened (No such file or directory)" in done.out
    assert "new/10.mp4" in done.out
    assert "\x1b" not in done.out
    answer = json.loads(comix("predict", run, "new", "absent.mp4", "--json").out)
    assert [one["path"] for one in answer["failures"]] == ["new/5.mp4", "new/6\x1b[31m.mp4", "absent.mp4"]
    assert len(answer["videos"]) == 3


def test_csv_has_a_row_for_every_video(comix: Callable[..., Ended], run: Path, videos: Path) -> None:
    (videos / "5.mp4").write_bytes(b"no video")
    done = comix("predict", run, "new", "--top-k", "2", "--csv", "out/all.csv")
    assert done.code == 1
    assert "out/all.csv: 3 of 4 videos classified" in done.out
    assert "new/5.mp4: is not a video" in done.out
    assert "new/2.mp4" not in done.out
    rows = rows_of(Path("out/all.csv").read_text(encoding="utf-8"))
    assert [row["path"] for row in rows] == ["new/2.mp4", "new/5.mp4", "new/10.mp4", "new/in [bold]/3.mp4"]
    assert list(rows[0]) == ["path", "n_frames", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert [row["class_1"] in CLASSES for row in rows] == [True, False, True, True]
    assert float(rows[0]["probability_1"]) >= float(rows[0]["probability_2"]) > 0
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert [path.name for path in Path("out").iterdir()] == ["all.csv"]


def test_csv_on_standard_output_is_all_there_is(comix: Callable[..., Ended], run: Path, videos: Path) -> None:
    (videos / "5.mp4").write_bytes(b"no video")
    done = comix("predict", run, "new", "--csv", "-", "--quiet")
    assert done.code == 1
    assert len(rows_of(done.out)) == 4
    assert "warning: videos that could not be read: 1; the column error says why" in done.err
    both = comix("predict", run, "new", "--csv", "out.csv", "--json")
    assert len(json.loads(both.out)["videos"]) == len(rows_of(Path("out.csv").read_text())) - 1 == 3


def test_paths_that_are_no_text_are_escaped(comix: Callable[..., Ended], run: Path, videos: Path) -> None:
    odd = os.fsdecode(b"new/\xff.mp4")
    (videos / "2.mp4").rename(odd)
    assert r"new/\udcff.mp4" in comix("predict", run, odd).out
    assert json.loads(comix("predict", run, odd, "--json").out)["videos"][0]["path"] == r"new/\udcff.mp4"
    assert comix("predict", run, odd, "--csv", "odd.csv").code == 0
    assert rows_of(Path("odd.csv").read_text(encoding="utf-8"))[0]["path"] == r"new/\udcff.mp4"


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    yield give


def test_paths_come_from_a_list_too(
    comix: Callable[..., Ended], run: Path, videos: Path, stdin: Callable[[bytes], None]
) -> None:
    Path("list.txt").write_text("new/10.mp4\nnew/2.mp4\n")
    both = comix("predict", run, "new/2.mp4", "--list", "list.txt", "--json")
    assert [one["path"] for one in json.loads(both.out)["videos"]] == ["new/2.mp4", "new/10.mp4"]
    stdin(b"new/in [bold]\n")
    piped = comix("predict", run, "--list", "-", "--json")
    assert [one["path"] for one in json.loads(piped.out)["videos"]] == ["new/in [bold]/3.mp4"]
    stdin(b"\n")
    assert "no videos named: - has no lines" in comix("predict", run, "--list", "-").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "no videos named"),
        (["run", "nowhere"], "there is no file or folder nowhere"),
        (["run", "empty"], "no video in empty"),
        (["run", "--list", "absent.txt"], "absent.txt: no such file or directory"),
        (["absent", "new"], "absent holds no run"),
        (["run", "new", "--seed", "4"], "has no head 'last' of seed 4"),
        (["run", "new", "--head", "selected"], "has no head 'selected' of seed 0"),
        (["run", "new", "--head", "first"], "Invalid value for '--head'"),
        (["run", "new", "--device", "tpu"], "there is no device 'tpu'"),
        (["run", "new", "--top-k", "0"], "Invalid value for '--top-k'"),
        (["run", "new", "--csv", "-", "--json"], "both want standard output"),
        (["run", "new", "--csv", "empty"], "--csv empty is a folder"),
    ],
)
def test_what_can_not_be_done_says_why(
    comix: Callable[..., Ended], run: Path, videos: Path, words: list[str], message: str
) -> None:
    Path("empty").mkdir()
    done = comix("predict", *words)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_other_weights_than_the_runs_are_refused(
    comix: Callable[..., Ended], run: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Corners, "weights_sha256", "b" * 64)
    done = comix("predict", run, "new", "--weights", "some.safetensors")
    assert done.code == 2
    assert "error: some.safetensors are not the weights that the features of" in done.err
    assert "b" * 64 in done.err
    assert f"expected {SHA}" in done.err


def test_weights_may_be_a_run_that_trained_them(
    comix: Callable[..., Ended], run: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def loading(name: str, weights: object, *words: object) -> Corners:
        given.append(weights)
        return Corners()

    monkeypatch.setattr("comix_fast.serving.model.load_backbone", loading)
    assert "trained no backbone" in comix("predict", run, "new", "--weights", run).err
    trained = make_run(run.parent / "trained", {"name": "i3d", "weights": "random"}, Corners.feature_dim)
    own = RunFolder(trained).seed(0).backbone_path("last")
    own.touch()
    assert comix("predict", run, "new", "--weights", trained).code == 0
    assert given == [str(own)]

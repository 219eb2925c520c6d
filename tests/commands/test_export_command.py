"""`comix export` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from builders import Ended, write_run
from comix_fast.backbones import load_backbone
from comix_fast.config import AdaptRecipe
from comix_fast.serving import forms


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = AdaptRecipe(head="linear", statistics="mean+std")
    return write_run(tmp_path_factory.mktemp("runs") / "ut", recipe, load_backbone("i3d", "random"))


def test_a_head_goes_into_the_run_folder(comix: Callable[..., Ended], run: Path) -> None:
    ended = comix("export", run, "--format", "torch", "--part", "head")
    assert ended.code == 0, ended.err
    path = run / "seed-0-last-head.pt2"
    assert path.is_file() and f"{path}: " in ended.out
    for text in (
        "features [batch, clips, 1024], float32",
        "logits, probabilities",
        "largest difference from the model",
    ):
        assert text in ended.out
    assert "warning" not in ended.err
    with torch.no_grad():
        logits, probabilities = torch.export.load(path).module()(torch.zeros(4, 7, 1024))
    assert logits.shape == probabilities.shape == (4, 3)


def test_onnx_is_the_default(comix: Callable[..., Ended], run: Path, tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        runtime = pytest.importorskip(package)
    ended = comix("export", run, "--part", "head", "--out", "head.onnx", "--json")
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert said["format"] == "onnx" and said["run_with"].startswith("onnxruntime")
    assert said["differences"]["probabilities"] <= 1e-4 and said["bytes"] == (tmp_path / "head.onnx").stat().st_size
    runtime.InferenceSession("head.onnx", providers=["CPUExecutionProvider"])


def test_without_onnx_it_says_what_to_install(
    comix: Callable[..., Ended], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "installed", lambda package: False)
    ended = comix("export", run, "--out", "model.onnx")
    assert ended.code == 2 and "onnx and onnxscript" in ended.err and "comix-fast[export]" in ended.err
    assert not Path("model.onnx").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--head", "selected"), "no head 'selected'"), (("--seed", "4"), "seed 4"), (("--out", "."), "is a folder")],
)
def test_what_is_not_there_is_refused(
    words: tuple[str, ...], text: str, comix: Callable[..., Ended], run: Path
) -> None:
    ended = comix("export", run, "--format", "torch", "--part", "head", *words)
    assert ended.code == 2 and text in ended.err

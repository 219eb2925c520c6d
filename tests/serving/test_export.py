"""Models as files: torch and onnxruntime give what the model gives, for any batch, or there is no file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import ExportedProgram

from builders import write_run
from comix_fast.backbones import Backbone, load_backbone
from comix_fast.config import AdaptRecipe
from comix_fast.errors import ComixError
from comix_fast.serving import export as exporting
from comix_fast.serving import forms
from comix_fast.serving.export import TOLERANCE, export, rounded_by_run
from comix_fast.serving.forms import METADATA, TorchForm
from comix_fast.serving.model import AdaptedModel, load
from comix_fast.serving.parts import Part, part_of

RECIPES = {
    "graph": AdaptRecipe(hidden_dim=12, mixing=False),
    "linear": AdaptRecipe(head="linear", statistics="mean+max+std+change+peak-change"),
    "mlp": AdaptRecipe(head="mlp", statistics="mean+max", hidden_dim=12),
}


@pytest.fixture(scope="module")
def i3d() -> Backbone:
    return load_backbone("i3d", "random")


@pytest.fixture(scope="module")
def models(i3d: Backbone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, AdaptedModel]:
    root = tmp_path_factory.mktemp("runs")
    return {kind: load(write_run(root / kind, recipe, i3d), device="cpu") for kind, recipe in RECIPES.items()}


def features_of(n_videos: int, n_clips: int, dim: int = 1024) -> Tensor:
    return torch.randn(n_videos, n_clips, dim, generator=torch.Generator().manual_seed(n_videos + n_clips)) * 2


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


def in_torch(path: Path, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        found: tuple[Tensor, ...] = torch.export.load(path).module()(x)
    return found


def in_onnxruntime(path: Path, x: Tensor) -> tuple[Tensor, ...]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return tuple(torch.from_numpy(array) for array in session.run(None, {taken.name: x.numpy()}))


def sizes_of(kind: str) -> list[tuple[int, int]]:
    """Videos and clips to try: none of the batches is the one that is traced."""
    return [(1, 16), (3, 16)] if kind == "graph" else [(1, 16), (3, 40), (5, 3)]


@torch.inference_mode()
def answers(model: AdaptedModel, features: Tensor) -> tuple[Tensor, Tensor]:
    logits = model.classifier.classify(features)
    assert logits.std() > 0.1
    return logits, logits.softmax(dim=-1)


@pytest.mark.parametrize("kind", list(RECIPES))
def test_a_head_in_torch_is_the_head(kind: str, models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    done = export(models[kind], tmp_path / "head.pt2", form="torch", part="head")
    assert done.checker.startswith("torch ") and max(done.differences.values()) <= 1e-6
    for n_videos, n_clips in sizes_of(kind):
        x = features_of(n_videos, n_clips)
        for found, expected in zip(in_torch(done.path, x), answers(models[kind], x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", list(RECIPES))
def test_onnxruntime_agrees_on_a_head(kind: str, models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    done = export(models[kind], tmp_path / "head.onnx", part="head")
    assert done.checker.startswith("onnxruntime ") and done.differences.keys() == {"logits", "probabilities"}
    for n_videos, n_clips in sizes_of(kind):
        x = features_of(n_videos, n_clips)
        logits, probabilities = in_onnxruntime(done.path, x)
        expected = answers(models[kind], x)
        torch.testing.assert_close(logits, expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(probabilities, expected[1], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_the_whole_model_from_clips_to_classes(form: Any, models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    """The batch, the number of clips, and a second route to the answer: features one clip at a time, then the head."""
    if form == "onnx":
        for package in ("onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    model = models["linear"]
    done = export(model, tmp_path / "model", form=form)
    clips = noise(1, 5, 3, 8, 224, 224)
    with torch.inference_mode():
        features = torch.cat([model.backbone(clip) for clip in clips.transpose(0, 1)])
    logits, probabilities = (in_torch if form == "torch" else in_onnxruntime)(done.path, clips)
    expected = answers(model, features.unsqueeze(0))
    torch.testing.assert_close(logits, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(probabilities, expected[1], rtol=0, atol=TOLERANCE)
    # What the file leaves out, as a cache does not: rounding to float16.
    rounded = answers(model, features.half().unsqueeze(0))[1]
    torch.testing.assert_close(probabilities, rounded, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["i3d", "r3d_18"])
def test_onnxruntime_agrees_on_a_backbone(name: str, i3d: Backbone, tmp_path: Path) -> None:
    """r3d_18 halves its clips inside."""
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    backbone = i3d if name == "i3d" else load_backbone(name, "random")
    model = load(write_run(tmp_path / "run", RECIPES["graph"], backbone), device="cpu")
    done = export(model, tmp_path / "backbone.onnx", part="backbone")
    clips = noise(1, 3, 8, 224, 224)
    (features,) = in_onnxruntime(done.path, clips)
    expected = backbone(clips)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_an_i3d_in_torch_keeps_its_accuracy_and_its_size(models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    model = models["graph"]
    done = export(model, tmp_path / "backbone.pt2", form="torch", part="backbone")
    clips = noise(1, 3, 8, 224, 224)
    (features,) = in_torch(done.path, clips)
    torch.testing.assert_close(features, model.backbone(clips), rtol=1e-5, atol=1e-5)
    # Its weights and little else: neither the input that was traced nor the classifier of Kinetics.
    n_weights = sum(p.numel() for p in part_of(model, "backbone").module.parameters())
    assert 4 * n_weights < done.n_bytes < 4 * n_weights + (1 << 20)


def test_a_graph_takes_the_clips_that_its_run_tests_on(models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    path = export(models["graph"], tmp_path / "head.pt2", form="torch", part="head").path
    with pytest.raises((AssertionError, RuntimeError), match="16"):
        in_torch(path, features_of(2, 15))


def check_metadata(metadata: Mapping[str, Any], model: AdaptedModel) -> None:
    assert metadata["classes"] == list(model.classes) and "押す" in metadata["classes"]
    assert metadata["preprocessing"] == {"size": 224, "resize": "lanczos", "range": [-1.0, 1.0]}
    assert metadata["clips"]["length"] == 8 and metadata["clips"]["taken"] == "the first of each bin"
    assert (metadata["run"], metadata["seed"], metadata["head"]) == ("graph", 0, "last")
    assert metadata["input"]["sizes"] == ["batch", 16, 1024]
    assert metadata["precision"] == "fp32" and metadata["backbone"]["name"] == "i3d"


def test_a_pt2_says_what_it_is(models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    path = export(models["graph"], tmp_path / "head.pt2", form="torch", part="head").path
    inside = {METADATA: ""}
    torch.export.load(path, extra_files=inside)
    check_metadata(json.loads(inside[METADATA]), models["graph"])


def test_an_onnx_file_says_what_it_is(models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime"):
        runtime = pytest.importorskip(package)
    path = export(models["graph"], tmp_path / "head.onnx", part="head").path
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    raw = session.get_modelmeta().custom_metadata_map
    texts = ("run", "head", "precision")
    check_metadata({k: v if k in texts else json.loads(v) for k, v in raw.items() if k in EXPECTED}, models["graph"])
    assert int(raw["opset"]) >= 18
    assert [one.name for one in session.get_outputs()] == ["logits", "probabilities"]
    assert session.get_inputs()[0].shape == ["batch", 16, 1024]


EXPECTED = {"classes", "preprocessing", "clips", "run", "seed", "head", "input", "precision", "backbone"}


class Wrong(TorchForm):
    """Writes files that answer with something else."""

    def __init__(self, by: float) -> None:
        self.by = by

    def run(self, path: Path, part: Part, x: Tensor) -> tuple[Tensor, ...]:
        assert path.stat().st_size > 0
        return tuple(value + self.by for value in super().run(path, part, x))


@pytest.mark.parametrize("by", [3e-4, float("nan")])
def test_a_file_that_answers_otherwise_is_not_kept(
    by: float, models: dict[str, AdaptedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "head.pt2"
    out.write_bytes(b"an older one")
    monkeypatch.setattr(exporting, "FORMS", {"torch": Wrong(by)})
    with pytest.raises(ComixError, match=r"gives other .*probabilities than the model, so it was not kept"):
        export(models["graph"], out, form="torch", part="head")
    assert [path.name for path in tmp_path.iterdir()] == ["head.pt2"]
    assert out.read_bytes() == b"an older one"


def test_a_bf16_run_is_written_in_float32_and_stays_as_it_is(i3d: Backbone, tmp_path: Path) -> None:
    recipe = AdaptRecipe(hidden_dim=12, precision="bf16", mixing=False)
    model = load(write_run(tmp_path / "run", recipe, i3d, precision="bf16"), device="cpu")
    assert model.backbone.precision == model.classifier.head.precision == "bf16"
    done = export(model, tmp_path / "head.pt2", form="torch", part="head")
    assert done.metadata["run_precision"] == {"backbone": "bf16", "head": "bf16"}
    assert rounded_by_run(done) == ["head"]
    x = features_of(2, 16)
    found = in_torch(done.path, x)[0]
    assert not torch.equal(found, answers(model, x)[0])
    model.classifier.head.precision = "fp32"
    torch.testing.assert_close(found, answers(model, x)[0], rtol=1e-6, atol=1e-6)
    # The backbone is read again: its own weights, which bfloat16 has rounded, can't be had back from it.
    clips = noise(1, 3, 8, 224, 224)
    part = part_of(model, "backbone")
    torch.testing.assert_close(part.module(clips)[0], i3d(clips), rtol=0, atol=0)
    assert model.backbone.has_classifier and "logits.conv3d.weight" in model.backbone.network.state_dict()


@pytest.mark.parametrize("missing", [["onnx"], ["onnx", "onnxscript"]])
def test_missing_packages_are_named_with_the_way_out(
    missing: list[str], models: dict[str, AdaptedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "installed", lambda package: package not in missing)
    with pytest.raises(ComixError, match=" and ".join(missing)) as caught:
        export(models["graph"], tmp_path / "head.onnx", part="head")
    assert "comix-fast[export]" in str(caught.value) and not list(tmp_path.iterdir())


class Unchecked(TorchForm):
    """As ONNX is where onnxruntime is not installed."""

    checker = ""

    def write(self, program: ExportedProgram, part: Part, metadata: Mapping[str, Any], path: Path) -> None:
        path.write_bytes(b"written")


def test_what_nothing_can_run_says_so(
    models: dict[str, AdaptedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "FORMS", {"onnx": Unchecked()})
    done = export(models["graph"], tmp_path / "head.onnx", part="head")
    assert (done.checker, dict(done.differences), done.n_bytes) == ("", {}, 7)


def test_a_folder_is_refused_before_the_work(models: dict[str, AdaptedModel], tmp_path: Path) -> None:
    with pytest.raises(ComixError, match="is a folder"):
        export(models["graph"], tmp_path, form="torch", part="head")

"""load_backbone: what it gives, what identifies it, and that a clip's features are its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from comix_fast.backbones import Backbone, backbone_names, load_backbone
from comix_fast.errors import ComixError, ShapeError, WeightsError


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone("i3d", "random", request.param)


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.rand(4, 3, 8, 224, 224, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_listing_backbones_does_not_import_torch() -> None:
    code = (
        "import sys, comix_fast.backbones as b\n"
        "print(b.backbone_names(), 'torch' in sys.modules)\n"
        "b.load_backbone\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{backbone_names()} False", "True"]
    assert backbone_names() == ["i3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d"]


def test_frozen_and_described(backbone: Backbone) -> None:
    assert isinstance(backbone, torch.nn.Module)
    assert not backbone.training and not backbone.train().training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert (backbone.name, backbone.feature_dim, backbone.weights_name) == ("i3d", 1024, "random")
    assert "random" in backbone.warning
    recipe = json.loads(json.dumps(backbone.recipe()))
    assert recipe == backbone.recipe()
    assert recipe["precision"] == backbone.precision
    assert recipe["weights_sha256"] == backbone.weights_sha256 and len(recipe["weights_sha256"]) == 64
    assert recipe["weights"] == "random" and recipe["input_size"] == 224


def test_random_weights_are_always_the_same() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = load_backbone("mc3_18", "random")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = load_backbone("mc3_18", "random", "bf16")
    assert first.weights_sha256 == second.weights_sha256  # of what was loaded, whatever it computes in


def test_a_clips_features_do_not_depend_on_its_batch(backbone: Backbone, clips: torch.Tensor) -> None:
    """What a cache's byte-identity stands on, in batches of one size: place, neighbours, memory layout."""
    clip = clips[0]
    expected = backbone(clips)[0]
    assert expected.std() > 0
    for place in range(4):
        batch = clips.flip(0).clone()
        batch[place] = clip
        assert torch.equal(backbone(batch)[place], expected), place
    padded = torch.zeros_like(clips)
    padded[2] = clip
    assert torch.equal(backbone(padded)[2], expected)
    assert torch.equal(backbone(clips.contiguous(memory_format=torch.channels_last_3d))[0], expected)
    alone = backbone(clip[None])[0]  # another size may sum in another order
    assert float(torch.cosine_similarity(alone, expected, dim=0)) > 0.9999


def test_gives_float32_features_and_logits(backbone: Backbone, clips: torch.Tensor) -> None:
    features = backbone(clips[:1].double())
    assert features.shape == (1, 1024) and features.dtype == torch.float32 and not features.requires_grad
    logits = backbone.logits(features)
    assert logits.shape == (1, 400) and logits.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3, 8, 224, 224), (1, 3, 8, 112, 112), (1, 1, 8, 224, 224), (0, 3, 8, 224, 224)])
def test_other_shapes_are_refused(backbone: Backbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \[B, 3, T, 224, 224\]") as caught:
        backbone(torch.zeros(shape))
    assert str(list(shape)) in str(caught.value)


def test_integers_and_foreign_features_are_refused(backbone: Backbone) -> None:
    with pytest.raises(ShapeError, match="uint8"):
        backbone(torch.zeros(1, 3, 1, 224, 224, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"\[2, 512\], expected \[B, 1024\]"):
        backbone.logits(torch.zeros(2, 512))


def test_unknown_words_name_the_choices() -> None:
    with pytest.raises(WeightsError, match="no backbone named 'c3d'") as caught:
        load_backbone("c3d", "random")
    assert "r2plus1d_18" in caught.value.hint
    with pytest.raises(WeightsError, match="no precision named 'fp8'") as caught:
        load_backbone("i3d", "random", "fp8")
    assert "bf16" in caught.value.hint
    with pytest.raises(WeightsError, match="no weights named imagenet, and no such file") as caught:
        load_backbone("i3d", "imagenet")
    assert "kinetics400" in caught.value.hint


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_an_absent_device_is_an_error_to_act_on(device: str) -> None:
    with pytest.raises(ComixError, match=f"no device {device}") as caught:
        load_backbone("i3d", "random", device=device)
    assert "cpu" in caught.value.hint


def test_a_doubtful_bf16_is_a_warning_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comix_fast.backbones.precision.MIN_COSINE", 1.1)
    backbone = load_backbone("mc3_18", "random", "bf16")
    assert backbone.precision == "bf16" and "cosine" in backbone.precision_note
    assert "random" in backbone.warning and backbone.precision_note in backbone.warning
    assert load_backbone("mc3_18", "random", "fp32").precision_note == ""


def test_check_clips_reach_the_check_as_the_network_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def fails_on_the_third(reference: object, other: object, clips: torch.Tensor) -> float:
        seen.append(clips)
        return 0.5 if len(seen) == 3 else 1.0

    monkeypatch.setattr("comix_fast.backbones.precision.agreement", fails_on_the_third)
    check = torch.zeros(3, 3, 8, 224, 224, dtype=torch.float64)
    backbone = load_backbone("mc3_18", "random", "bf16", check=check)
    assert [list(clips.shape) for clips in seen] == [[2, 3, 8, 112, 112], [2, 3, 8, 112, 112], [1, 3, 8, 112, 112]]
    assert float(seen[1][0, 0].mean()) == pytest.approx((0.5 - 0.43216) / 0.22803, rel=1e-4)
    assert backbone.precision == "bf16" and "first 3 clips" in backbone.warning and "0.5000" in backbone.warning


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_check_clips_of_another_shape_are_refused(precision: str) -> None:
    with pytest.raises(ShapeError, match=r"expected \[B, 3, T, 224, 224\]"):
        load_backbone("mc3_18", "random", precision, check=torch.zeros(3, 8, 224, 224))


@pytest.mark.weights
def test_kinetics_has_no_warning_and_a_known_digest(kinetics_home: Path) -> None:
    backbone = load_backbone()
    assert backbone.warning == "" and backbone.weights_name == "kinetics400"
    assert backbone.weights_sha256 == "9e2603b9f1ebdad12c824439e9234f77debd2575e6deb320a93e15e476c45406"

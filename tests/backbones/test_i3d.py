"""Inception-I3D: its names, its forms, its gradients, and the published numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from comix_fast.backbones import i3d, load_backbone
from comix_fast.backbones.i3d import InceptionI3d, Unit3D
from comix_fast.backbones.state import fill, fit_state, random_state

UNITS = ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"] + [
    f"Mixed_{block}.{branch}"
    for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
    for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
]


@pytest.fixture(scope="module")
def trainable() -> InceptionI3d:
    network = InceptionI3d()
    fill(network, fit_state(network, random_state(network), "random"))
    generator = torch.Generator().manual_seed(4)
    for name, tensor in network.named_buffers():
        if name.endswith("running_mean"):
            tensor.uniform_(-0.2, 0.2, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def test_names_are_those_of_rgb_imagenet() -> None:
    with torch.device("meta"):
        names = set(InceptionI3d().state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {f"{unit}.conv3d.weight" for unit in UNITS}
    expected |= {f"{unit}.bn.{part}" for unit in UNITS for part in norm}
    assert names == expected | {"logits.conv3d.weight", "logits.conv3d.bias"}


def test_folding_keeps_the_features(trainable: InceptionI3d) -> None:
    clips = torch.rand(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    folded = InceptionI3d()
    folded.load_state_dict(trainable.state_dict())
    folded.eval().requires_grad_(False).fold()
    with torch.inference_mode():
        expected = trainable(clips)
        assert expected.std() > 0.01
        torch.testing.assert_close(folded(clips), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_of_a_batch_give_what_the_whole_gives(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_backbone("i3d", "random", precision).network
    clips = torch.rand(6, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen: list[int] = []
    original = InceptionI3d._large_maps

    def counted(self: InceptionI3d, part: Tensor) -> Tensor:
        seen.append(len(part))
        return original(self, part)

    monkeypatch.setattr(InceptionI3d, "_large_maps", counted)
    in_parts = network(clips)
    monkeypatch.setattr(i3d, "_PARTS", ())
    whole = network(clips)
    assert seen == [2, 2, 2, 6] and whole.std() > 0.01
    atol = 1e-5 if precision == "fp32" else 5e-2  # products of few rows, as of 64-pixel clips, round otherwise
    torch.testing.assert_close(in_parts, whole, atol=atol * float(whole.std()), rtol=0)


def test_parts_are_equal_and_batch_norm_in_training_has_the_batch_whole(trainable: InceptionI3d) -> None:
    folded = load_backbone("i3d", "random").network
    assert isinstance(folded, InceptionI3d)
    for n_clips, n_parts in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 1), (6, 3), (7, 1), (8, 4), (9, 3), (16, 8)):
        clips = torch.empty(n_clips, 3, 1, 1, 1)
        assert folded._n_parts(clips) == n_parts
        assert len({len(part) for part in clips.chunk(n_parts)}) == 1
        assert trainable._n_parts(clips) == 1


@pytest.mark.parametrize("relu", [True, False])
def test_a_product_with_bias_and_relu_inside_gives_the_same_bytes(relu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 14, 14, 48, generator=generator).to(torch.bfloat16).permute(0, 4, 1, 2, 3)
    weight, bias = (torch.randn(*size, generator=generator).to(torch.bfloat16) for size in ((24, 48), (24,)))
    inside = i3d._pointwise(x, weight, bias, relu)
    monkeypatch.setattr(i3d, "_has_fused_linear", lambda x, weight: False)
    one_by_one = i3d._pointwise(x, weight, bias, relu)
    assert torch.equal(inside, one_by_one) and bool((one_by_one < 0).any()) is not relu


def test_a_folded_unit_in_bf16_still_passes_gradients() -> None:
    unit = Unit3D(6, 8, 1).eval()
    unit.fold()
    unit.to(torch.bfloat16)
    unit(torch.rand(1, 6, 1, 4, 4).to(torch.bfloat16)).sum().backward()
    assert unit.conv3d.weight.grad is not None and bool(unit.conv3d.weight.grad.any())


def test_trainable_form_has_gradients_everywhere(trainable: InceptionI3d) -> None:
    clips = torch.rand(1, 3, 8, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    trainable.classify(trainable(clips)).square().sum().backward()
    silent = [name for name, p in trainable.named_parameters() if p.grad is None or not p.grad.any()]
    trainable.zero_grad()
    assert silent == []


@pytest.mark.parametrize("n_frames", [1, 5, 8, 16])
def test_features_are_the_mean_over_the_last_map(trainable: InceptionI3d, n_frames: int) -> None:
    clips = torch.rand(1, 3, n_frames, 50, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps: list[Tensor] = []
    handle = trainable.get_submodule("Mixed_5c").register_forward_hook(lambda _module, _args, out: maps.append(out))
    with torch.inference_mode():
        features = trainable(clips)
    handle.remove()
    n_t, n_h, n_w = -(-n_frames // 8), 2, 2  # SAME padding: every halving rounds up
    assert maps[0].shape == (1, 1024, n_t, n_h, n_w)
    total = torch.zeros(1024, dtype=torch.float64)
    for t in range(n_t):
        for row in range(n_h):
            for column in range(n_w):
                total += maps[0][0, :, t, row, column].double()
    torch.testing.assert_close(features[0].double(), total / (n_t * n_h * n_w), atol=1e-6, rtol=1e-5)


@pytest.mark.weights
@pytest.mark.shared
def test_golden_features_and_logits_in_fp32(kinetics_home: Path, clips: dict[str, Tensor]) -> None:
    backbone = load_backbone("i3d", "kinetics400", "fp32")
    features = backbone(clips["clips"])
    assert features.dtype == torch.float32 and not features.requires_grad
    torch.testing.assert_close(features, clips["features"], atol=1e-4, rtol=0)  # 3e-6 to 5e-6 measured
    torch.testing.assert_close(backbone.logits(features), clips["logits"], atol=2e-4, rtol=0)  # 3e-5 to 5e-5 measured


@pytest.mark.weights
@pytest.mark.shared
def test_golden_features_in_bf16(kinetics_home: Path, clips: dict[str, Tensor]) -> None:
    features = load_backbone("i3d", "kinetics400", "bf16")(clips["clips"])
    assert features.dtype == torch.float32
    cosines = torch.cosine_similarity(features, clips["features"], dim=1)
    assert float(cosines.min()) > 0.9998  # 0.99991 measured

"""Backbones on a GPU: the CPU's features up to rounding, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from comix_fast.backbones import Backbone, i3d_jax, load_backbone
from comix_fast.backbones.precision import has_bf16_units
from comix_fast.backbones.same import max_pool_same
from comix_fast.backbones.trainable import TrainableBackbone

BATCH = 4


def clips(n: int = BATCH, frames: int = 8) -> Tensor:
    """Blocks of colour, as videos have areas and edges: [n, 3, frames, 224, 224] in [-1, 1]."""
    coarse = torch.rand(n, 3, frames, 14, 14, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(frames, 224, 224), mode="nearest")


def computed(backbone: Backbone, given: Tensor, device: torch.device) -> Tensor:
    with torch.inference_mode():
        return backbone(given.to(device)).cpu()


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def on_cpu() -> Tensor:
    return computed(load_backbone("i3d", "random"), clips(), torch.device("cpu"))


def test_float32_is_no_tf32(gpu: torch.device, on_cpu: Tensor) -> None:
    ours = computed(load_backbone("i3d", "random", device=gpu), clips(), gpu)
    # TF32 is off by 3e-4 and more.
    assert relative(ours, on_cpu) < 2e-5


def test_bf16_agrees(gpu: torch.device, on_cpu: Tensor) -> None:
    if not has_bf16_units(gpu):
        pytest.skip("this GPU has no bfloat16 units")
    backbone = load_backbone("i3d", "random", "auto", gpu, check=clips(2))
    assert (backbone.precision, backbone.precision_note) == ("bf16", "")
    ours = computed(backbone, clips(), gpu)
    assert float(torch.cosine_similarity(ours, on_cpu).min()) > 0.9995


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neither_neighbours_nor_place_nor_hour_change_a_clips_features(gpu: torch.device, precision: str) -> None:
    backbone = load_backbone("i3d", "random", precision, gpu)
    given = clips()
    whole = computed(backbone, given, gpu)
    assert torch.equal(computed(backbone, given, gpu), whole)
    order = [2, 0, 3, 1]
    assert torch.equal(computed(backbone, given[order], gpu), whole[order])
    alone = torch.cat([given[2:3], given[:1].expand(BATCH - 1, -1, -1, -1, -1)])
    assert torch.equal(computed(backbone, alone, gpu)[0], whole[2])


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "s3d"])
def test_the_other_backbones(gpu: torch.device, name: str) -> None:
    frames = 16 if name == "s3d" else 8
    given = clips(2, frames)
    theirs = computed(load_backbone(name, "random"), given, torch.device("cpu"))
    ours = computed(load_backbone(name, "random", device=gpu), given, gpu)
    assert relative(ours, theirs) < 2e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride"), [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((2, 2, 2), (2, 2, 2))])
def test_pooling_and_its_way_back(
    gpu: torch.device, dtype: torch.dtype, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    x = torch.randn(2, 5, 4, 13, 14, generator=torch.Generator().manual_seed(1)).relu().to(dtype)
    pooled, slopes = [], []
    for device in (torch.device("cpu"), gpu):
        given = x.to(device, memory_format=torch.channels_last_3d).requires_grad_()
        found = max_pool_same(given, kernel, stride)
        with torch.inference_mode():
            assert torch.equal(max_pool_same(given.detach(), kernel, stride), found)
        found.float().square().sum().backward()
        assert given.grad is not None
        pooled.append(found.detach().cpu())
        # Where several values of a window are equal, which is 0 here alone, each device picks its own.
        slopes.append(given.grad.cpu() * (x > 0))
    assert torch.equal(*pooled)
    torch.testing.assert_close(*slopes)


def test_training_and_its_frozen_form_agree(gpu: torch.device) -> None:
    network = TrainableBackbone("i3d", "random", device=gpu, batch_norm="frozen")
    given = clips(2).to(gpu)
    features = network(given)
    features.square().sum().backward()
    assert all(bool(p.grad is not None and p.grad.isfinite().all()) for p in network.trained().values())
    frozen = computed(load_backbone("i3d", "random", device=gpu), clips(2), gpu)
    assert relative(features.detach().cpu(), frozen) < 2e-5


@pytest.mark.weights
@pytest.mark.shared
def test_golden_features_and_logits(gpu: torch.device, shared: Path) -> None:
    if i3d_jax.package_file() is None:
        pytest.skip(f"no Kinetics I3D weights here: {i3d_jax.INSTALL}")
    with np.load(shared / "golden" / "i3d_clips.npz", allow_pickle=False) as golden:
        given = torch.from_numpy(golden["frames"]).permute(0, 4, 1, 2, 3).float() * (2 / 255) - 1
        features, logits = torch.from_numpy(golden["features"]), torch.from_numpy(golden["logits"])
    backbone = load_backbone("i3d", "kinetics400", device=gpu)
    ours = computed(backbone, given, gpu)
    torch.testing.assert_close(ours, features, atol=1e-4, rtol=0)
    torch.testing.assert_close(backbone.logits(ours.to(gpu)).cpu(), logits, atol=2e-4, rtol=0)
    rough = computed(load_backbone("i3d", "kinetics400", "bf16", gpu), given, gpu)
    assert float(torch.cosine_similarity(rough, features).min()) > 0.9998

"""torchvision's networks: names, features before the classifier, input scaling, offline errors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor

from comix_fast.backbones import load_backbone, torchvision_video
from comix_fast.backbones.backbone import normalised
from comix_fast.backbones.registry import BACKBONES
from comix_fast.backbones.state import random_state
from comix_fast.errors import WeightsError

NAMES = ["r3d_18", "mc3_18", "r2plus1d_18", "s3d"]
DIMS = {"r3d_18": 512, "mc3_18": 512, "r2plus1d_18": 512, "s3d": 1024}


def ramp(n_frames: int) -> Tensor:
    return torch.rand(2, 3, n_frames, 224, 224, generator=torch.Generator().manual_seed(9)) * 2 - 1


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_torchvision_itself(name: str) -> None:
    """The same weights in torchvision's own network, its own classifier, clips long enough for its own pooling."""
    own = getattr(torchvision.models.video, name)(weights=None).eval()
    ours = load_backbone(name, "random")
    state = random_state(torchvision_video.build(name))
    missing, unexpected = own.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    clips = ramp(16)[:1]
    with torch.inference_mode():
        expected = own(normalised(clips, BACKBONES[name]))
        features = ours(clips)
        scale = expected.abs().max()
        torch.testing.assert_close(ours.logits(features) / scale, expected / scale, atol=2e-5, rtol=0)
    assert features.shape == (1, DIMS[name]) == (1, ours.feature_dim)


@pytest.mark.parametrize("name", NAMES)
def test_eight_frames_and_bf16(name: str) -> None:
    clips = ramp(8)
    full, lower = load_backbone(name, "random")(clips), load_backbone(name, "random", "bf16")(clips)
    assert lower.shape == (2, DIMS[name]) and lower.dtype == torch.float32
    assert float(torch.cosine_similarity(full, lower, dim=1).min()) > 0.999


def test_scaling_by_plain_loops() -> None:
    clips = ramp(1)[:1]
    halved = normalised(clips, BACKBONES["r3d_18"])
    assert halved.shape == (1, 3, 1, 112, 112)
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    for channel in range(3):
        for row, column in ((0, 0), (5, 17), (111, 111)):
            pixels = [clips[0, channel, 0, 2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
            unit = (sum(float(pixel) for pixel in pixels) / 4 + 1) / 2
            expected = (unit - mean[channel]) / std[channel]
            assert float(halved[0, channel, 0, row, column]) == pytest.approx(expected, abs=1e-5)
    assert normalised(clips, BACKBONES["i3d"]) is clips
    assert normalised(clips, BACKBONES["s3d"]).shape == clips.shape


def test_offline_without_a_checkpoint(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(WeightsError, match="r3d_18 are not on this machine and could not be downloaded") as caught:
        load_backbone("r3d_18")
    assert "https://download.pytorch.org/models/r3d_18-b3b3357e.pth" in caught.value.details[0]
    assert "name resolution" in caught.value.details[0]
    assert str(own_home.parent / "torch") in caught.value.hint and "--weights" in caught.value.hint


def test_checkpoint_in_torch_hub_is_used_if_its_hash_fits(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_home.parent / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(random_state(torchvision_video.build("s3d")), folder / "s3d.pth")
    start = hashlib.sha256((folder / "s3d.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "s3d.pth").rename(folder / f"s3d-{start}.pth")
    monkeypatch.setattr(torchvision_video, "checkpoint_url", lambda _: f"https://example.org/{path.name}")
    backbone = load_backbone("s3d")
    assert (backbone.weights_name, backbone.warning) == ("kinetics400", "")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"damaged: its sha256 does not start with {start}"):
        load_backbone("s3d")

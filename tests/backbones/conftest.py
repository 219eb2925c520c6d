"""A network small enough to try every mistake on, and the real weights where they are installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from comix_fast.backbones import i3d_jax
from comix_fast.backbones.folding import fold_sequences
from comix_fast.backbones.network import VideoNetwork


class TinyNet(VideoNetwork):
    """One convolution, its batch norm, and a classifier of three."""

    classifier_name = "logits"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 4, 3, bias=False), nn.BatchNorm3d(4), nn.ReLU())
        self.logits = nn.Linear(4, 3)

    def part_names(self) -> Sequence[str]:
        return ("body",)

    def part(self, name: str, x: Tensor) -> Tensor:
        maps: Tensor = self.get_submodule(name)(x.to(next(self.body.parameters()).dtype))
        return maps

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.logits(features)
        return logits

    def fold(self) -> None:
        fold_sequences(self)


@pytest.fixture
def tiny() -> VideoNetwork:
    torch.manual_seed(3)
    network = TinyNet().eval().requires_grad_(False)
    norm = network.get_submodule("body.1")
    assert isinstance(norm, nn.BatchNorm3d)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what comix-fast keeps, and an empty torch hub."""
    monkeypatch.setenv("COMIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def kinetics_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home shared by the tests that read the real weights, so that they are converted once."""
    if i3d_jax.package_file() is None:
        pytest.skip(f"no Kinetics I3D weights here: {i3d_jax.INSTALL}")
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("COMIX_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def clips(shared: Path) -> dict[str, Tensor]:
    """The golden clips, scaled, and the published code's features and logits for them."""
    with np.load(shared / "golden" / "i3d_clips.npz", allow_pickle=False) as golden:
        frames = torch.from_numpy(golden["frames"]).permute(0, 4, 1, 2, 3)
        return {
            "clips": frames.float() * (2 / 255) - 1,
            "features": torch.from_numpy(golden["features"]),
            "logits": torch.from_numpy(golden["logits"]),
        }

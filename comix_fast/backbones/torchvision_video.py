"""torchvision's video networks, up to the features their classifier sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from comix_fast.backbones.folding import fold_sequences
from comix_fast.backbones.network import VideoNetwork

_WEIGHTS = {
    "r3d_18": "R3D_18_Weights",
    "mc3_18": "MC3_18_Weights",
    "r2plus1d_18": "R2Plus1D_18_Weights",
    "s3d": "S3D_Weights",
}


def build(name: str) -> VideoNetwork:
    """The network of that name, its weights not yet set, under torchvision's own parameter names."""
    model: nn.Module = getattr(torchvision.models.video, name)(weights=None)
    return SeparableNet(model) if name == "s3d" else VideoResNet(model)


def checkpoint_url(name: str) -> str:
    """Where torchvision keeps the network's Kinetics-400 checkpoint; its file name ends in part of its sha256."""
    url: str = getattr(torchvision.models.video, _WEIGHTS[name]).KINETICS400_V1.url
    return url


class VideoResNet(VideoNetwork):
    """r3d_18, mc3_18, r2plus1d_18 (Tran et al. 2018): [B, 3, T, 112, 112] -> [B, 512]."""

    classifier_name = "fc"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name in ("stem", "layer1", "layer2", "layer3", "layer4", "fc"):
            self.add_module(name, model.get_submodule(name))

    def part_names(self) -> Sequence[str]:
        """Its children."""
        return ("stem", "layer1", "layer2", "layer3", "layer4")

    def part(self, name: str, x: Tensor) -> Tensor:
        """See VideoNetwork."""
        return _run(self.get_submodule(name), x)

    def classify(self, features: Tensor) -> Tensor:
        """[B, 512] float32 -> [B, 400] float32."""
        logits: Tensor = self.get_submodule("fc")(features)
        return logits

    def fold(self) -> None:
        fold_sequences(self)


class SeparableNet(VideoNetwork):
    """s3d (Xie et al. 2018): [B, 3, T, 224, 224] -> [B, 1024], for any T from 1.

    torchvision pools 2x7x7 windows before the classifier, which needs T of 16 or more; the mean over the whole
    map, as it was trained to be used, takes shorter clips too.
    """

    classifier_name = "classifier"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name in ("features", "classifier"):
            self.add_module(name, model.get_submodule(name))

    def part_names(self) -> Sequence[str]:
        """The layers below "features", by number."""
        return [f"features.{number}" for number in range(len(list(self.get_submodule("features").children())))]

    def part(self, name: str, x: Tensor) -> Tensor:
        """See VideoNetwork."""
        return _run(self.get_submodule(name), x)

    def classify(self, features: Tensor) -> Tensor:
        """[B, 1024] float32 -> [B, 400] float32."""
        logits: Tensor = self.get_submodule("classifier")(features[:, :, None, None, None])
        return logits.flatten(1)

    def fold(self) -> None:
        fold_sequences(self)


def _run(module: nn.Module, x: Tensor) -> Tensor:
    """In the number format of its weights, channels last; a pooling has none and takes what it is given."""
    weights = next(module.parameters(), x)
    out: Tensor = module(x.to(weights.dtype, memory_format=torch.channels_last_3d))
    return out

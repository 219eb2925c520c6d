"""Which backbones there are. One record each; a network's module is imported only when it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from comix_fast.errors import WeightsError

if TYPE_CHECKING:
    from comix_fast.backbones.network import VideoNetwork

CLIP_SIZE = 224
"""Height and width, in pixels, of the clips that every backbone takes."""

_TORCHVISION_MEAN = (0.43216, 0.394666, 0.37645)
_TORCHVISION_STD = (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True)
class Architecture:
    """What is fixed about a backbone before any weights are read.

    feature_dim: length of a clip's feature vector.
    n_classes: length of the logits of its Kinetics-400 classifier.
    input_size: pixels a side at which the network was trained; clips are resized to it inside.
    mean, std: per channel, for pixels in [0, 1]; i3d's 0.5 and 0.5 leave clips in [-1, 1] as they are.
    build: makes the network, its weights not yet set.
    """

    name: str
    feature_dim: int
    n_classes: int
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    build: Callable[[], VideoNetwork]


def _build_i3d() -> VideoNetwork:
    from comix_fast.backbones.i3d import InceptionI3d

    return InceptionI3d()


def _build_torchvision(name: str) -> VideoNetwork:
    from comix_fast.backbones.torchvision_video import build

    return build(name)


def _torchvision(name: str, feature_dim: int, input_size: int) -> Architecture:
    return Architecture(
        name=name,
        feature_dim=feature_dim,
        n_classes=400,
        input_size=input_size,
        mean=_TORCHVISION_MEAN,
        std=_TORCHVISION_STD,
        build=lambda: _build_torchvision(name),
    )


_I3D = Architecture(
    name="i3d",
    feature_dim=1024,
    n_classes=400,
    input_size=CLIP_SIZE,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    build=_build_i3d,
)

BACKBONES: Mapping[str, Architecture] = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in (
            _I3D,
            _torchvision("r3d_18", 512, 112),
            _torchvision("mc3_18", 512, 112),
            _torchvision("r2plus1d_18", 512, 112),
            _torchvision("s3d", 1024, 224),
        )
    }
)


def backbone_names() -> list[str]:
    """The names load_backbone takes, the default first."""
    return list(BACKBONES)


def architecture_of(name: str) -> Architecture:
    """The record of a backbone. Raises WeightsError, listing the names, where there is none."""
    if name not in BACKBONES:
        raise WeightsError(f"no backbone named {name!r}", hint=f"choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]

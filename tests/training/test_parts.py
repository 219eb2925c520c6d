"""Networks run part by part: the bits of the whole, wherever it is cut."""

from __future__ import annotations

import itertools

import pytest
import torch
import torchvision
from torch import Tensor

from comix_fast.backbones.network import VideoNetwork
from comix_fast.backbones.registry import architecture_of
from comix_fast.backbones.same import max_pool_same
from comix_fast.backbones.state import Fitted, State, fill, random_state

I3D_PARTS = ("Conv3d_1a_7x7", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "Mixed_5b", "Mixed_5c")


def filled(name: str) -> tuple[VideoNetwork, State]:
    """In eval mode, its random weights with statistics that are not those of no data at all."""
    with torch.device("meta"):
        network = architecture_of(name).build()
    generator = torch.Generator().manual_seed(2)
    state = {
        key: value if value.ndim > 1 else value + torch.rand(value.shape, generator=generator) / 2
        for key, value in random_state(network).items()
    }
    fill(network, Fitted({key: value.clone() for key, value in state.items()}, has_classifier=True))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last_3d), state


def pictures(n: int, size: int) -> Tensor:
    return torch.rand(n, 3, 8, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def i3d_by_hand(network: VideoNetwork, clips: Tensor) -> Tensor:
    """Carreira & Zisserman 2017, figure 3, layer after layer; clips through the large maps two by two once folded."""

    def large(x: Tensor) -> Tensor:
        for name in ("Conv3d_1a_7x7", "pool", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "pool", "Mixed_3b", "Mixed_3c"):
            x = max_pool_same(x, (1, 3, 3), (1, 2, 2)) if name == "pool" else network.get_submodule(name)(x)
        return max_pool_same(x, (3, 3, 3), (2, 2, 2))

    x = torch.cat([large(some) for some in clips.split(2)])
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "pool", "Mixed_5b", "Mixed_5c"):
        x = max_pool_same(x, (2, 2, 2), (2, 2, 2)) if name == "pool" else network.get_submodule(name)(x)
    return x.mean(dim=(2, 3, 4))


def require_cuts(network: VideoNetwork, clips: Tensor) -> None:
    """At every place and at all of them."""
    whole, n_parts = network(clips), len(network.part_names())
    assert whole.std() > 0.01
    for cut in range(n_parts + 1):
        maps = network.through(network.through(clips, until=cut), since=cut)
        assert torch.equal(network.pooled(maps), whole), cut
    maps = clips
    for first, last in itertools.pairwise(range(n_parts + 1)):
        maps = network.through(maps, first, last)
    assert torch.equal(network.pooled(maps), whole)


@torch.inference_mode()
def test_i3d_folded_gives_the_bits_of_its_layers() -> None:
    network, _ = filled("i3d")
    network.fold()
    clips = pictures(4, 64)
    assert tuple(network.part_names()) == I3D_PARTS
    assert torch.equal(network(clips), i3d_by_hand(network, clips))
    require_cuts(network, clips)


@pytest.mark.parametrize("name", ["r2plus1d_18", "s3d"])
@torch.inference_mode()
def test_torchvision_networks_give_the_bits_of_torchvision(name: str) -> None:
    network, state = filled(name)
    model = getattr(torchvision.models.video, name)(weights=None)
    model.load_state_dict(state, strict=False)
    model = model.eval().to(memory_format=torch.channels_last_3d)
    clips = pictures(2, 32).contiguous(memory_format=torch.channels_last_3d)
    if name == "s3d":
        maps = model.features(clips)
    else:
        maps = torch.nn.Sequential(model.stem, model.layer1, model.layer2, model.layer3, model.layer4)(clips)
    assert torch.equal(network(clips), maps.mean(dim=(2, 3, 4)))
    require_cuts(network, clips)


@pytest.mark.parametrize("name", ["i3d", "s3d"])
def test_maps_computed_again_give_the_same_gradient(name: str) -> None:
    gradients = []
    for recomputes in (False, True):
        network, _ = filled(name)
        network.requires_grad_(True).train()
        network.recomputes = recomputes
        network(pictures(2, 32)).square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append({key: value.grad for key, value in network.named_parameters() if value.grad is not None})
    kept, again = gradients
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[key], again[key]) for key in kept)
    assert all(value.isfinite().all() for value in kept.values())

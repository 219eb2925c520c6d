"""I3D in training: what is computed otherwise than torch would have it gives the same numbers and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comix_fast.backbones.i3d import InceptionBlock, InceptionI3d, Stem
from comix_fast.backbones.same import max_pool_same, same_padding

CHANNELS_LAST = torch.channels_last_3d


def same_conv(x: Tensor, weight: Tensor) -> Tensor:
    """The stem as commonly written: zeros all round, then a convolution without padding."""
    pads = [same_padding(size, 7, 2) for size in x.shape[2:]]
    return F.conv3d(F.pad(x, [zeros for pad in reversed(pads) for zeros in pad]), weight, stride=2)


def test_the_stem_under_autocast_is_the_same_convolution_and_learns_the_same() -> None:
    torch.manual_seed(0)
    stem = Stem(3, 64, 7, 2)
    # Numbers that bfloat16 holds: only the result is rounded, whatever the order of the sums.
    with torch.no_grad():
        stem.conv3d.weight.copy_(torch.randint(-4, 5, stem.conv3d.weight.shape) / 8)
    clips = torch.randint(-4, 5, (2, 3, 8, 30, 26)) / 4
    with torch.autocast("cpu", torch.bfloat16):
        found = stem.convolve(clips)
    weight = stem.conv3d.weight.detach().double().requires_grad_()
    expected = same_conv(clips.double(), weight)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=0)
    gradient = torch.randint(-4, 5, expected.shape).double()
    found.backward(gradient.to(torch.bfloat16))
    expected.backward(gradient)
    assert stem.conv3d.weight.grad is not None and weight.grad is not None
    assert stem.conv3d.weight.grad.shape == (64, 3, 7, 7, 7)
    torch.testing.assert_close(stem.conv3d.weight.grad.double(), weight.grad, rtol=2**-8, atol=1e-6)


def plain_block(block: InceptionBlock, x: Tensor) -> Tensor:
    """The block as commonly written."""
    pooled = F.relu(block.b3b.affine(F.max_pool3d(x, 3, 1, 1)))
    return torch.cat(
        [F.relu(block.b0.affine(x)), block.b1b(block.b1a(x)), block.b2b(block.b2a(x)), pooled], dim=1
    )  # fmt: skip


def test_a_block_learns_as_one_commonly_written_does() -> None:
    torch.manual_seed(1)
    block = InceptionBlock(8, (4, 6, 8, 4, 4, 4)).double().train()
    maps = torch.randn(2, 8, 4, 6, 6, dtype=torch.float64).relu()
    gradients = []
    for form in (block, lambda x: plain_block(block, x)):
        block.zero_grad()
        x = maps.clone(memory_format=CHANNELS_LAST).requires_grad_()
        out = form(x)
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out))
        gradients.append([x.grad, *(parameter.grad for parameter in block.parameters())])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)


def test_batch_norms_meet_gradients_in_rows_of_channels() -> None:
    block = InceptionBlock(8, (4, 6, 8, 4, 4, 4)).to(memory_format=CHANNELS_LAST).train()
    met: dict[str, bool] = {}

    def note(name: str, out: Tensor) -> None:
        # Of the node, not of the tensor: it sees what the tensor's own hooks have made of the gradient.
        assert out.grad_fn is not None
        out.grad_fn.register_prehook(
            lambda gradients: met.update({name: gradients[0].is_contiguous(memory_format=CHANNELS_LAST)})
        )

    for name, module in block.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            module.register_forward_hook(lambda _m, _i, out, name=name: note(name, out))
    x = torch.rand(2, 8, 4, 6, 6).to(memory_format=CHANNELS_LAST)
    block(x).square().sum().backward()
    assert len(met) == 6 and all(met.values()), met


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride"), [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1)), ((2, 2, 2), (2, 2, 2))])
def test_pooling_keeps_no_places_and_gives_the_gradient_of_torch(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(2)
    # Few values, so that many windows have several maxima.
    maps = torch.randint(0, 4, (2, 4, 4, 7, 6)).to(dtype).contiguous(memory_format=CHANNELS_LAST)
    kept: list[Tensor] = []
    gradients = []
    for ours in (True, False):
        x = maps.clone().requires_grad_()
        if ours:
            with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
                out = F.relu_(max_pool_same(x, kernel, stride))
        else:
            before = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
            out = F.relu(F.max_pool3d(x, kernel, stride, before, ceil_mode=True))
        out.backward(torch.arange(out.numel()).view_as(out).to(dtype))
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)
    assert all(tensor.dtype == dtype for tensor in kept)


def test_maps_that_are_computed_again_give_the_same_gradients_step_by_step() -> None:
    torch.manual_seed(3)
    network = InceptionI3d(n_classes=2).train()
    clips = torch.rand(2, 3, 8, 32, 32) * 2 - 1
    passes: list[str] = []
    for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Mixed_3b", "Mixed_5c"):
        network.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: passes.append(name))
    gradients = []
    for network.recomputes in (False, True):
        passes.clear()
        network.zero_grad()
        network(clips).square().sum().backward()
        gradients.append({name: value.grad for name, value in network.named_parameters() if value.grad is not None})
    # The stem's own forward is not called, only its affine part.
    assert passes == ["Conv3d_2b_1x1", "Mixed_3b", "Mixed_5c", "Mixed_5c", "Mixed_3b", "Conv3d_2b_1x1"]
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=0, atol=0)

"""What the head leaves out, against computing it all: the third layer's affinity, and clips that a mask hides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from comix_fast.heads import TemporalGraph

PARTS = ("weight", "bias", "w_one", "w_two")


def in_full(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """All three layers of one video, [N, in] -> [C], affinity by affinity, nothing skipped."""
    for layer in ("gc1", "gc2", "gc3"):
        weight, bias, one, two = (state[f"{layer}.{part}"] for part in PARTS)
        rows = []
        exps = [[torch.exp((one @ x[i]) @ (two @ x[j])) for j in range(len(x))] for i in range(len(x))]
        totals = [sum((exps[i][j] for i in range(len(x))), torch.zeros(())) for j in range(len(x))]
        for i in range(len(x)):
            terms = [exps[i][j] / totals[j] * (x[j] @ weight) for j in range(len(x))]
            rows.append(torch.stack(terms).sum(dim=0) + bias)
        x = torch.stack(rows)
        if layer != "gc3":
            x = x.clamp_min(0)
    return x.mean(dim=0)


def random_head(seed: int, size: float = 1.0) -> TemporalGraph:
    torch.manual_seed(seed)
    head = TemporalGraph(5, 4, 3).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(size * torch.randn_like(parameter) / math.sqrt(parameter.shape[-1]))
    return head


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [0.3, 1.5])
def test_values_and_gradients_are_those_of_all_three_layers(seed: int, size: float) -> None:
    head = random_head(seed, size)
    x, wanted = torch.randn(2, 6, 5, dtype=torch.double), torch.randn(2, 3, dtype=torch.double)
    state = {name: value.detach().clone().requires_grad_() for name, value in head.state_dict().items()}
    full = torch.stack([in_full(state, video) for video in x])
    torch.testing.assert_close(head(x), full, atol=1e-12, rtol=1e-10)
    (full * wanted).sum().backward()
    (head(x) * wanted).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, state[name].grad, atol=1e-11, rtol=1e-9, msg=name)


def test_the_third_affinity_decides_nothing_and_has_no_gradient() -> None:
    head = random_head(1)
    x = torch.randn(2, 6, 5, dtype=torch.double)
    before, full = head(x).detach(), in_full(head.state_dict(), x[0])
    with torch.no_grad():
        head.gc3.w_one.normal_(std=3.0)
        head.gc3.w_two.normal_(std=3.0)
    logits = head(x)
    assert torch.equal(logits, before)
    torch.testing.assert_close(in_full(head.state_dict(), x[0]), full, atol=1e-12, rtol=0)
    logits.square().sum().backward()
    for part in (head.gc3.w_one, head.gc3.w_two):
        # Zero, not None: the optimiser's weight decay acts on them as in the published code.
        assert part.grad is not None
        assert not part.grad.any()
    for part in (head.gc2.w_one, head.gc2.w_two, head.gc3.weight):
        assert part.grad is not None
        assert part.grad.any()


@pytest.mark.parametrize("seed", range(6))
def test_a_masked_view_is_the_head_on_the_clips_picked(seed: int) -> None:
    head = random_head(seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 7, 5, dtype=torch.double, generator=generator)
    mask = torch.rand(7, generator=generator) < (seed + 1) / 7
    mask[seed] = True
    picked = x[:, mask]
    ours, theirs = x.clone().requires_grad_(), picked.clone().requires_grad_()
    fast, slow = head.two_speeds(ours, mask)
    torch.testing.assert_close(fast, head(x), atol=1e-12, rtol=0)
    torch.testing.assert_close(slow, head(picked), atol=1e-12, rtol=0)
    torch.testing.assert_close(slow[0], in_full(head.state_dict(), picked[0]), atol=1e-12, rtol=0)
    slow.square().sum().backward()
    head(theirs).square().sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad[:, mask], theirs.grad, atol=1e-11, rtol=1e-9)
    assert not ours.grad[:, ~mask].any()


def test_clips_left_out_have_no_say_however_large() -> None:
    head, mask = random_head(0), torch.tensor([True, False, True, False, False, True])
    x = torch.randn(2, 6, 5, dtype=torch.double)
    louder = torch.where(mask[:, None], x, 1e3 * x)
    torch.testing.assert_close(head.two_speeds(louder, mask)[1], head.two_speeds(x, mask)[1], atol=1e-12, rtol=0)
    assert not torch.allclose(head.two_speeds(louder, mask)[0], head.two_speeds(x, mask)[0])

"""Several heads as one: each computes what it would alone, and their weights are the same memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.heads import TemporalGraph, temporal_graph

TOLERANCE = {"fp32": 1e-6, "bf16": 1e-3}


def some_heads(count: int, precision: str = "fp32", seed: int = 0) -> list[TemporalGraph]:
    torch.manual_seed(seed)
    return [TemporalGraph(9, 8, 3, precision=precision).eval() for _ in range(count)]  # type: ignore[arg-type]


def some_masks(count: int, n_clips: int, seed: int = 0) -> Tensor:
    """[count, n_clips] bool: the first has one clip, the second all of them, the others some."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, n_clips, generator=generator) < 0.5
    masks[:, 3] = True
    masks[0], masks[0, 5] = False, True
    masks[1:2] = True
    return masks


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_head_computes_what_it_does_alone(count: int, precision: str) -> None:
    heads = some_heads(count, precision)
    joined = TemporalGraph.side_by_side(heads).eval()
    x, masks = torch.randn(count, 4, 16, 9), some_masks(count, 16)
    logits, hidden, (fast, slow) = joined(x), joined.hidden(x), joined.two_speeds(x, masks)
    assert logits.shape == fast.shape == slow.shape == (count, 4, 3)
    assert hidden.shape == (count, 4, 8)
    near = {"atol": TOLERANCE[precision], "rtol": 0}
    for number, head in enumerate(heads):
        torch.testing.assert_close(logits[number], head(x[number]), **near)
        torch.testing.assert_close(hidden[number], head.hidden(x[number]), **near)
        theirs = head.two_speeds(x[number], masks[number])
        torch.testing.assert_close(fast[number], theirs[0], **near)
        torch.testing.assert_close(slow[number], theirs[1], **near)
    assert count == 1 or not torch.allclose(logits[0], logits[1], atol=1e-2)


@pytest.mark.parametrize("all_at_once", [False, True], ids=["head by head", "as on CUDA"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_each_heads_own(precision: str, all_at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if all_at_once:
        monkeypatch.setattr(temporal_graph, "_at_once", lambda x: (...,))
    heads = some_heads(3, precision)
    joined = TemporalGraph.side_by_side(heads).eval()
    x, masks, wanted = torch.randn(3, 4, 16, 9), some_masks(3, 16), torch.randn(3, 4, 3)
    together = x.clone().requires_grad_()
    fast, slow = joined.two_speeds(together, masks)
    ((fast - 2 * slow) * wanted).sum().backward()
    assert together.grad is not None
    for number, head in enumerate(heads):
        alone = x[number].clone().requires_grad_()
        fast, slow = head.two_speeds(alone, masks[number])
        ((fast - 2 * slow) * wanted[number]).sum().backward()
        assert alone.grad is not None
        near = {"atol": TOLERANCE[precision] * float(alone.grad.abs().max().clamp_min(1.0)), "rtol": 0}
        torch.testing.assert_close(together.grad[number], alone.grad, **near)
        for (name, ours), theirs in zip(joined.named_parameters(), head.parameters(), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            assert bool(theirs.grad.any()) != (name in ("gc3.w_one", "gc3.w_two"))
            size = float(theirs.grad.abs().max().clamp_min(1.0))
            torch.testing.assert_close(ours.grad[number], theirs.grad, atol=TOLERANCE[precision] * size, rtol=0)


def test_dropout_factors_are_each_heads_own() -> None:
    heads = some_heads(3)
    joined = TemporalGraph.side_by_side(heads).train()
    x, masks = torch.randn(3, 4, 16, 9), some_masks(3, 16)
    one, two = ((torch.rand(3, 8, 16, 8) < 0.8) / 0.8 for _ in range(2))
    fast, slow = joined.two_speeds(x, masks, (one, two))
    logits = joined(x, (one[:, :4], two[:, :4]))
    for number, head in enumerate(heads):
        head.train()
        theirs = head.two_speeds(x[number], masks[number], (one[number], two[number]))
        torch.testing.assert_close(fast[number], theirs[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(slow[number], theirs[1], atol=1e-6, rtol=0)
        theirs_alone = head(x[number], (one[number, :4], two[number, :4]))
        torch.testing.assert_close(logits[number], theirs_alone, atol=1e-6, rtol=0)
        # The order of the factors: every video's fast before its slow.
        fast_alone = head(x[number], (one[number, 0::2], two[number, 0::2]))
        torch.testing.assert_close(fast[number], fast_alone, atol=1e-6, rtol=0)


def test_clips_may_be_named_by_number_for_each_head() -> None:
    joined = TemporalGraph.side_by_side(some_heads(2)).eval()
    x, numbers = torch.randn(2, 4, 16, 9), torch.tensor([[0, 5, 9, 15], [1, 2, 3, 4]])
    masks = torch.stack([torch.isin(torch.arange(16), index) for index in numbers])
    for ours, theirs in zip(joined.two_speeds(x, numbers), joined.two_speeds(x, masks), strict=True):
        assert torch.equal(ours, theirs)
    shared = joined.two_speeds(x, numbers[0])[1]
    torch.testing.assert_close(shared, joined.two_speeds(x, masks[:1].expand(2, -1))[1])
    assert not torch.allclose(shared[1], joined.two_speeds(x, masks)[1][1])


def test_a_single_head_shares_the_memory_of_its_place() -> None:
    heads = some_heads(3)
    joined = TemporalGraph.side_by_side(heads).train()
    before = [head.gc2.weight.detach().clone() for head in heads]
    single = joined.single(1)
    assert single.training
    assert single.n_heads is None
    for (name, part), whole in zip(single.named_parameters(), joined.parameters(), strict=True):
        assert part.data_ptr() == whole[1].data_ptr(), name
        assert part.requires_grad
    with torch.no_grad():
        single.gc2.weight.add_(1.0)
        joined.gc1.bias[1] = 7.0
    torch.testing.assert_close(joined.gc2.weight[1], before[1] + 1.0)
    assert torch.equal(joined.gc2.weight[0], before[0])
    assert single.gc1.bias.tolist() == [7.0] * 8
    # The heads that were joined are copied, not taken.
    assert all(torch.equal(head.gc2.weight, then) for head, then in zip(heads, before, strict=True))


def test_joining_draws_no_random_number() -> None:
    heads = some_heads(2)
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    TemporalGraph.side_by_side(heads).single(0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "other",
    [TemporalGraph(9, 8, 4), TemporalGraph(9, 7, 3), TemporalGraph(10, 8, 3), TemporalGraph(9, 8, 3, precision="bf16")],
)
def test_heads_that_differ_do_not_go_side_by_side(other: TemporalGraph) -> None:
    with pytest.raises(ShapeError, match="one shape and one precision"):
        TemporalGraph.side_by_side([*some_heads(2), other])


@pytest.mark.parametrize("shape", [(4, 16, 9), (2, 4, 16, 9), (3, 4, 16, 8), (3, 16, 9)])
def test_inputs_of_other_heads_are_refused(shape: tuple[int, ...]) -> None:
    joined = TemporalGraph.side_by_side(some_heads(3))
    for call in (joined, joined.hidden, lambda x: joined.two_speeds(x, torch.tensor([0]))):
        with pytest.raises(ShapeError, match=r"takes \[3, B, N, 9\] clip features, not"):
            call(torch.zeros(shape))

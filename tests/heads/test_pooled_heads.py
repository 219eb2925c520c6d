"""Heads on one row a video: a linear layer, a perceptron; by loops, and several as one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError, WeightsError
from comix_fast.heads import Head, LinearHead, MlpHead, TemporalGraph, make_head

IN, HIDDEN, CLASSES = 7, 5, 3
KINDS = ("linear", "mlp")


def some_heads(name: str, count: int, dropout: float = 0.1, seed: int = 0) -> list[Head]:
    """Heads whose weights all differ, none of them zero."""
    torch.manual_seed(seed)
    heads = [make_head(name, IN, HIDDEN, CLASSES, dropout).eval() for _ in range(count)]
    with torch.no_grad():
        for head in heads:
            for parameter in head.parameters():
                parameter.copy_(torch.randn(parameter.shape))
    return heads


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def by_loops(x: Sequence[float], weight: Tensor, bias: Tensor) -> list[float]:
    """x W + b, number by number."""
    rows, found = weight.tolist(), bias.tolist()
    for column in range(len(found)):
        for row, value in enumerate(x):
            found[column] += value * rows[row][column]
    return found


def test_a_linear_head_is_weights_times_features_plus_bias() -> None:
    (head,) = some_heads("linear", 1)
    assert isinstance(head, LinearHead)
    x = torch.randn(4, 1, IN)
    expected = torch.tensor([by_loops(row[0].tolist(), head.weight, head.bias) for row in x])
    close(head(x), expected)
    close(head.hidden(x), expected)
    assert torch.equal(head.features(x), x[:, 0])


@pytest.mark.parametrize("n_heads", [None, 2])
def test_a_linear_head_begins_without_an_opinion(n_heads: int | None) -> None:
    lead = () if n_heads is None else (n_heads,)
    head = LinearHead(IN, CLASSES, n_heads)
    assert not head(torch.randn(*lead, 4, 1, IN)).any()
    assert head.weight.shape == (*lead, IN, CLASSES)


def test_a_perceptron_is_two_layers_and_a_rectifier() -> None:
    (head,) = some_heads("mlp", 1, dropout=0.5)
    assert isinstance(head, MlpHead)
    x = torch.randn(4, 1, IN)
    hidden = [[max(0.0, value) for value in by_loops(row[0].tolist(), head.first, head.first_bias)] for row in x]
    close(head.features(x), torch.tensor(hidden))
    close(head.hidden(x), torch.tensor(hidden))
    close(head(x), torch.tensor([by_loops(row, head.last, head.last_bias) for row in hidden]))
    assert 0 < sum(value == 0 for row in hidden for value in row) < 4 * HIDDEN


def test_a_perceptron_begins_within_its_bounds() -> None:
    torch.manual_seed(0)
    head = MlpHead(64, 25, CLASSES)
    for weight, bias, bound in ((head.first, head.first_bias, 1 / 8), (head.last, head.last_bias, 1 / 5)):
        assert float(weight.detach().abs().max()) <= bound
        assert float(weight.detach().abs().max()) > 0.9 * bound
        assert float(bias.detach().abs().max()) <= bound
        assert bool(bias.any())


@pytest.mark.parametrize("name", KINDS)
def test_several_rows_of_a_video_are_averaged(name: str) -> None:
    (head,) = some_heads(name, 1)
    x = torch.randn(4, 6, IN)
    close(head(x), head(x.mean(dim=1, keepdim=True)))
    assert not torch.allclose(head(x), head(x[:, :1]), atol=1e-2)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("n_clips", [1, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_each_head_computes_what_it_does_alone(name: str, n_clips: int, count: int) -> None:
    heads = some_heads(name, count)
    joined = type(heads[0]).side_by_side(heads).eval()
    x, slow = torch.randn(count, 4, n_clips, IN), torch.ones(count, n_clips, dtype=torch.bool)
    logits, hidden, (fast, also) = joined(x), joined.hidden(x), joined.two_speeds(x, slow)
    assert logits.shape == fast.shape == also.shape == (count, 4, CLASSES)
    for number, head in enumerate(heads):
        close(logits[number], head(x[number]))
        close(hidden[number], head.hidden(x[number]))
        close(joined.last_weights[number], head.last_weights)
        for ours, theirs in zip((fast, also), head.two_speeds(x[number], slow[number]), strict=True):
            close(ours[number], theirs)
            # A pooled row has no clips to leave out: without dropout both speeds are the video itself.
            close(theirs, head(x[number]))
    assert count == 1 or not torch.allclose(logits[0], logits[1], atol=1e-2)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_are_each_heads_own(name: str) -> None:
    heads = some_heads(name, 3)
    joined = type(heads[0]).side_by_side(heads)
    x, slow, wanted = torch.randn(3, 4, 1, IN), torch.ones(3, 1, dtype=torch.bool), torch.randn(3, 4, CLASSES)
    dropped = dropout_of(name, 3, 8)
    fast, also = joined.two_speeds(x, slow, dropped)
    ((fast.square() - 2 * also) * wanted).sum().backward()
    for number, head in enumerate(heads):
        mine = [None if factors is None else factors[number] for factors in dropped]
        fast, also = head.two_speeds(x[number], slow[number], mine)
        ((fast.square() - 2 * also) * wanted[number]).sum().backward()
        for ours, theirs in zip(joined.parameters(), head.parameters(), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            assert bool(theirs.grad.any())
            size = float(theirs.grad.abs().max().clamp_min(1.0))
            torch.testing.assert_close(ours.grad[number], theirs.grad, atol=1e-5 * size, rtol=0)


def dropout_of(name: str, count: int, n_videos: int) -> Sequence[Tensor | None]:
    """Factors that drop a third, or none for a head that takes none."""
    if name == "linear":
        return None, None
    return (torch.rand(count, n_videos, HIDDEN) < 2 / 3).float() * 1.5, torch.full((count, n_videos, HIDDEN), torch.nan)


def test_dropout_factors_multiply_the_hidden_layer() -> None:
    heads = some_heads("mlp", 2)
    joined = MlpHead.side_by_side(heads)  # type: ignore[arg-type]
    x, slow = torch.randn(2, 4, 1, IN), torch.ones(2, 1, dtype=torch.bool)
    dropped = dropout_of("mlp", 2, 8)
    factors = dropped[0]
    assert factors is not None
    fast, also = joined.two_speeds(x, slow, dropped)
    for number, head in enumerate(heads):
        hidden = head.features(x[number])
        # Every video's fast before its slow.
        close(fast[number], head.classify(hidden * factors[number, ::2]))
        close(also[number], head.classify(hidden * factors[number, 1::2]))
        close(head.features(x[number], (factors[number, :4], None)), hidden * factors[number, :4])
    assert not torch.allclose(fast, also, atol=0.1)


def test_only_a_perceptron_in_training_drops_by_itself() -> None:
    x = torch.randn(16, 1, IN)
    (head,) = some_heads("mlp", 1, dropout=0.5)
    assert torch.equal(head(x), head(x))
    head.train()
    assert not torch.equal(head(x), head(x))
    (without,) = some_heads("mlp", 1, dropout=0.0)
    assert torch.equal(without.train()(x), without(x))
    (linear,) = some_heads("linear", 1)
    assert torch.equal(linear.train()(x), linear(x))


def test_each_says_what_dropout_it_takes_and_what_it_is() -> None:
    linear, mlp = LinearHead(IN, CLASSES), MlpHead(IN, HIDDEN, CLASSES)
    assert linear.dropout_shape(8, 16) is None
    assert mlp.dropout_shape(8, 16) == (8, HIDDEN)
    assert linear.last_weights.shape == (CLASSES, IN)
    assert mlp.last_weights.shape == (CLASSES, HIDDEN)
    assert linear.last_weights.untyped_storage().data_ptr() == linear.weight.untyped_storage().data_ptr()
    assert (linear.title, mlp.title) == ("linear head", "perceptron head")


@pytest.mark.parametrize("name", KINDS)
def test_singles_share_the_weights_of_the_stack(name: str) -> None:
    joined = type(some_heads(name, 1)[0]).side_by_side(some_heads(name, 3))
    one = joined.single(1)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(1.0)
    for parameter, ours in zip(one.parameters(), joined.parameters(), strict=True):
        assert torch.equal(parameter, ours[1])
        assert not torch.allclose(parameter, ours[0])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(4, IN), (4, 1, IN + 1), (2, 4, 1, IN), (IN,)])
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    (head,) = some_heads(name, 1)
    for call in (head, head.hidden):
        with pytest.raises(ShapeError, match=r"takes \[B, N, 7\] clip features"):
            call(torch.zeros(shape))


@pytest.mark.parametrize("name", ["mlp", "linear"])
@pytest.mark.parametrize("shape", [(4, IN), (IN,)])
def test_two_speeds_refuse_other_shapes_too(name: str, shape: tuple[int, ...]) -> None:
    (head,) = some_heads(name, 1)
    with pytest.raises(ShapeError, match=r"takes \[B, N, 7\] clip features"):
        head.two_speeds(torch.zeros(shape), torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize("name", KINDS)
def test_several_heads_take_as_many_inputs(name: str) -> None:
    joined = type(some_heads(name, 1)[0]).side_by_side(some_heads(name, 3))
    for shape in ((4, 1, IN), (2, 4, 1, IN)):
        with pytest.raises(ShapeError, match=r"takes \[3, B, N, 7\]"):
            joined(torch.zeros(shape))


@pytest.mark.parametrize("sizes", [(0, 5, 3), (7, 5, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int, int]) -> None:
    for name in KINDS:
        with pytest.raises(ShapeError, match="sizes of at least 1"):
            make_head(name, *sizes)
    with pytest.raises(ShapeError, match="sizes of at least 1"):
        MlpHead(IN, 0, CLASSES)


@pytest.mark.parametrize(("name", "title"), [("linear", "linear head"), ("mlp", "perceptron head")])
def test_foreign_weights_are_refused_by_the_heads_own_name(name: str, title: str) -> None:
    head, (other,) = make_head(name, IN, HIDDEN, CLASSES), some_heads(name, 1)
    assert head.load_published(other.state_dict()) is head
    assert all(torch.equal(*pair) for pair in zip(head.parameters(), other.parameters(), strict=True))
    with pytest.raises(WeightsError, match=rf"(?s)not the weights of a {title}.*missing: .*unknown: gc1\.bias"):
        head.load_published(TemporalGraph(IN, HIDDEN, CLASSES).state_dict())
    with pytest.raises(WeightsError, match=rf"not the weights of a {title}"):
        head.load_published({})
    wide = make_head(name, IN + 1, HIDDEN, CLASSES).state_dict()
    with pytest.raises(WeightsError, match=rf"(?s)other sizes.*\[{IN + 1}, .*expected \[{IN}, "):
        head.load_published(wide)


def test_heads_are_made_by_name() -> None:
    made = [make_head(name, IN, HIDDEN, CLASSES, 0.25, "bf16") for name in ("linear", "mlp", "graph")]
    assert [type(head) for head in made] == [LinearHead, MlpHead, TemporalGraph]
    assert [head.dropout for head in made] == [0.0, 0.25, 0.25]
    assert [head.precision for head in made] == ["fp32", "fp32", "bf16"]
    assert [head.hidden_dim for head in made[1:]] == [HIDDEN, HIDDEN]
    assert all((head.in_dim, head.n_classes) == (IN, CLASSES) for head in made)
    with pytest.raises(KeyError, match="attention"):
        make_head("attention", IN, HIDDEN, CLASSES)

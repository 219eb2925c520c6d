"""The backbone's step, in parts: its gradient, its statistics and its updates are those of the whole graph at once."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import tiny as made
import torch
from steps import (
    BINS,
    ITERATIONS,
    by_hand,
    drawn_streams,
    features_by_hand,
    gradients_by_hand,
    learning,
    of_network,
    some_head,
    stacked,
    taken,
)
from torch import Tensor, nn

from comix_fast.backbones.trainable import TrainableBackbone
from comix_fast.errors import RunError
from comix_fast.stages.runs import load_tensors, save_tensors
from comix_fast.training.learning import Learning

pytestmark = pytest.mark.usefixtures("tiny")


def require_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Each tensor to 1e-4 of its largest number: float32, summed in another order."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        size = float(value.abs().max())
        assert size > 1e-5, name
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=1e-4 * size, msg=lambda text, n=name: f"{n}: {text}"
        )


CASES = list(itertools.product((None, 1, 2), ("recompute", "keep"), (False, True)))


@pytest.mark.parametrize(("micro_batch", "graphs", "recomputes"), CASES)
def test_gradient_is_that_of_one_graph(micro_batch: int | None, graphs: str, recomputes: bool) -> None:
    streams, head = drawn_streams(0), some_head()
    network = made.trainable(batch_norm="frozen", recomputes=recomputes)
    expected = gradients_by_hand(copy.deepcopy(network.network).eval(), head, streams)
    upstream = learning(network, [streams], micro_batch, graphs)
    terms = stacked(head, upstream, [streams]).step(0)
    assert min(float(terms[name].detach()) for name in ("cls", "bgm", "tpl", "confident")) > 0
    # Momentum after the first step is the gradient.
    require_close(upstream.momentum(), expected)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("graphs", ["recompute", "keep"])
def test_gradient_goes_through_batch_statistics(graphs: str, recomputes: bool) -> None:
    streams, head = drawn_streams(1), some_head()
    network = made.trainable(recomputes=recomputes)
    expected = gradients_by_hand(copy.deepcopy(network.network).train(), head, streams)
    upstream = learning(network, [streams], None, graphs)
    stacked(head, upstream, [streams]).step(0)
    require_close(upstream.momentum(), expected)


def test_gradient_where_domains_have_batches_of_different_sizes() -> None:
    streams, head = drawn_streams(2, (2, 3, 2, 3)), some_head()
    network = made.trainable(batch_norm="frozen")
    expected = gradients_by_hand(copy.deepcopy(network.network).eval(), head, streams)
    upstream = learning(network, [streams], 2)
    stacked(head, upstream, [streams]).step(0)
    require_close(upstream.momentum(), expected)


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize(("graphs", "recomputes"), [("recompute", False), ("recompute", True), ("keep", True)])
def test_statistics_move_by_the_parts_mean_once_a_stream(
    micro_batch: int | None, graphs: str, recomputes: bool
) -> None:
    streams, head, network = drawn_streams(8), some_head(), made.trainable(recomputes=recomputes)
    means = copy.deepcopy(network.network).train()
    norms = [
        [module for module in of.modules() if isinstance(module, nn.BatchNorm3d)] for of in (network.network, means)
    ]
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms[0]]
    for norm in norms[1]:
        norm.reset_running_stats()
        norm.momentum = None
    size = micro_batch or 3
    for videos in streams:
        for first in range(0, 3, size):
            features_by_hand(means, videos[first : first + size])
    stacked(head, learning(network, [streams], micro_batch, graphs), [streams]).step(0)
    for norm, mean, values in zip(*norms, before, strict=True):
        for found, of_parts, value in zip(
            (norm.running_mean, norm.running_var), (mean.running_mean, mean.running_var), values, strict=True
        ):
            for _ in streams:
                value.mul_(0.9).add_(0.1 * of_parts)
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6)
        assert norm.momentum == 0.1


@pytest.mark.parametrize(
    ("micro_batch", "graphs", "expected"),
    [(None, "recompute", [True]), (2, "recompute", [False] * 2 + [True] * 2), (2, "keep", [True] * 2)],
)
def test_only_several_parts_are_computed_again(micro_batch: int | None, graphs: str, expected: list[bool]) -> None:
    streams, calls, network = drawn_streams(3)[:1], [], made.trainable()
    network.network.stem.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    upstream = learning(network, [streams], micro_batch, graphs)
    upstream.begin(0)
    taken(upstream).sum().backward()  # type: ignore[no-untyped-call]
    upstream.learn(0, [])
    # A pass without a graph, then one with it.
    assert calls == expected


@pytest.mark.parametrize("graphs", ["recompute", "keep"])
def test_streams_that_no_loss_uses_are_no_part_of_the_step(graphs: str) -> None:
    streams, network = drawn_streams(4)[:2], made.trainable(batch_norm="frozen")
    reference = copy.deepcopy(network.network).eval()
    upstream = learning(network, [streams], None, graphs)
    upstream.begin(0)
    source, _ = taken(upstream), taken(upstream)
    source.square().sum().backward()  # type: ignore[no-untyped-call]
    upstream.learn(0, [])
    features_by_hand(reference, streams[0]).square().sum().backward()  # type: ignore[no-untyped-call]
    require_close(upstream.momentum(), of_network(reference))


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_gradient_through_statistics_over_time(micro_batch: int | None) -> None:
    (videos,) = streams = drawn_streams(5)[:1]
    network = made.trainable(batch_norm="frozen")
    reference = copy.deepcopy(network.network).eval()
    weights = torch.linspace(-1, 1, 3 * 2 * made.DIM).view(1, 3, 1, -1)
    upstream = learning(network, [streams], micro_batch, statistics=("mean", "std"))
    (upstream.begin(0), (taken(upstream) * weights).sum().backward(), upstream.learn(0, []))  # type: ignore[no-untyped-call]
    features = features_by_hand(reference, videos)
    pooled = torch.cat([features.mean(dim=1), features.var(dim=1, correction=0).sqrt()], dim=1)
    (pooled * weights.view(3, -1)).sum().backward()
    require_close(upstream.momentum(), of_network(reference))


def test_a_film_in_which_nothing_changes_has_a_gradient() -> None:
    """Its clips' standard deviation over time is 0, where the root has no slope."""
    streams = drawn_streams(6)[:1]
    streams[0][1] = [streams[0][1][0]] * BINS
    network = made.trainable(batch_norm="frozen")
    upstream = learning(network, [streams], statistics=("mean", "std"))
    (upstream.begin(0), taken(upstream).sum().backward(), upstream.learn(0, []))  # type: ignore[no-untyped-call]
    assert all(value.isfinite().all() for value in upstream.momentum().values())


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_three_updates_by_hand(batch_norm: str) -> None:
    iterations, decay = [drawn_streams(10 + number) for number in range(ITERATIONS)], 0.01
    network, head = made.trainable(batch_norm=batch_norm), some_head()
    reference, other = copy.deepcopy(network.network), copy.deepcopy(head)
    before = {name: value.detach().clone() for name, value in network.trained().items()}
    upstream = learning(network, iterations, weight_decay=decay)
    stack = stacked(head, upstream, iterations)
    for number in range(ITERATIONS):
        stack.step(number)
    by_hand(reference, other, iterations, decay)
    for name, value in reference.named_parameters():
        moved = float((value - before[name]).abs().max().detach())
        assert moved > 1e-4, name
        torch.testing.assert_close(network.trained()[name], value, rtol=0, atol=1e-3 * moved + 1e-6)
    for found, expected in zip(stack.single[0][0].parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 2])
def test_going_on_is_never_having_stopped_to_the_bit(cut: int, tmp_path: Path) -> None:
    iterations = [drawn_streams(20 + number)[:1] for number in range(ITERATIONS)]

    def steps(network: TrainableBackbone, upstream: Learning, numbers: range) -> None:
        for number in numbers:
            upstream.begin(number)
            taken(upstream).square().sum().backward()  # type: ignore[no-untyped-call]
            upstream.learn(number, [])

    whole, first, second = made.trainable(), made.trainable(), made.trainable()
    upstream = learning(whole, iterations, 2)
    steps(whole, upstream, range(ITERATIONS))
    begun = learning(first, iterations, 2)
    assert not begun.momentum()
    steps(first, begun, range(cut))
    # As a checkpoint keeps them: a file knows no order of memory but the plain one.
    save_tensors(tmp_path / "kept.safetensors", first.state())
    save_tensors(tmp_path / "momentum.safetensors", begun.momentum())
    second.load(load_tensors(tmp_path / "kept.safetensors")[0], "kept")
    going_on = learning(second, iterations, 2)
    going_on.load_momentum(load_tensors(tmp_path / "momentum.safetensors")[0])
    steps(second, going_on, range(cut, ITERATIONS))
    for found, expected in ((second.state(), whole.state()), (going_on.momentum(), upstream.momentum())):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_too_little_memory_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("out of memory\nmore")

    streams, network = drawn_streams(7)[:1], made.trainable()
    upstream = learning(network, [streams], 1)
    upstream.begin(0)
    loss = taken(upstream).sum()
    monkeypatch.setattr(network, "after", full)
    loss.backward()  # type: ignore[no-untyped-call]
    with pytest.raises(RunError, match=r"(?s)too little memory: out of memory.*--micro-batch"):
        upstream.learn(0, [])
    upstream = learning(network, [streams], 1)
    upstream.begin(0)
    with pytest.raises(RunError, match="too little memory"):
        taken(upstream)

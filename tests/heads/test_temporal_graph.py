"""The head against the published code's numbers and against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError, WeightsError
from comix_fast.heads import TemporalGraph


def published(golden: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    with np.load(golden / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: torch.as_tensor(file[key]) for key in file.files}
    weights = {key.removeprefix("weights."): value for key, value in arrays.items() if key.startswith("weights.")}
    return arrays, weights


def layer_by_loops(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """One video's graph convolution, x [N, in], node by node."""
    n_nodes = len(x)
    scores = np.array([[(one @ x[i]) @ (two @ x[j]) for j in range(n_nodes)] for i in range(n_nodes)])
    affinity = np.empty_like(scores)
    for j in range(n_nodes):
        column = np.exp(scores[:, j] - scores[:, j].max())
        affinity[:, j] = column / column.sum()
    return np.array([sum(affinity[i, j] * (x[j] @ weight) for j in range(n_nodes)) + bias for i in range(n_nodes)])


def test_logits_and_gradient_are_those_of_the_published_code(golden: Path) -> None:
    arrays, weights = published(golden, "graph_head")
    head = TemporalGraph(48, 24, 7).eval().load_published(weights)
    x = arrays["x"].requires_grad_()
    logits = head(x)
    (logits**2).sum().backward()
    torch.testing.assert_close(logits, arrays["logits"], atol=1e-5, rtol=0)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, arrays["grad_x"], atol=1e-4, rtol=0)


def test_a_head_is_what_plain_loops_compute() -> None:
    torch.manual_seed(3)
    head = TemporalGraph(5, 4, 3).double().eval()
    x = torch.randn(2, 6, 5, dtype=torch.double)
    state = {name: value.detach().numpy() for name, value in head.state_dict().items()}
    for video, logits in zip(x.numpy(), head(x), strict=True):
        nodes = video
        for layer in ("gc1", "gc2", "gc3"):
            parts = (state[f"{layer}.{part}"] for part in ("weight", "bias", "w_one", "w_two"))
            nodes = layer_by_loops(nodes, *parts)
            if layer != "gc3":
                nodes = np.maximum(nodes, 0)
        np.testing.assert_allclose(logits.detach().numpy(), nodes.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("prefix", ["", "module.", "module.graph.", "graph."])
def test_published_weights_load_under_every_prefix(golden: Path, prefix: str) -> None:
    arrays, weights = published(golden, "graph_head")
    head = TemporalGraph(48, 24, 7).eval().load_published({prefix + name: value for name, value in weights.items()})
    torch.testing.assert_close(head(arrays["x"]), arrays["logits"], atol=1e-5, rtol=0)


def test_two_speeds_are_two_calls_of_the_head() -> None:
    torch.manual_seed(0)
    head = TemporalGraph(9, 8, 3).eval()
    x, slow_index = torch.randn(4, 16, 9), torch.tensor([1, 5, 8, 15])
    fast, slow = head.two_speeds(x, slow_index)
    torch.testing.assert_close(fast, head(x))
    torch.testing.assert_close(slow, head(x[:, slow_index]))
    assert not torch.allclose(fast, slow)


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    head, x = TemporalGraph(9, 8, 3, dropout=0.5), torch.randn(4, 16, 9)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_hidden_is_the_mean_before_the_last_layer() -> None:
    torch.manual_seed(0)
    head, x = TemporalGraph(9, 8, 3).eval(), torch.randn(4, 16, 9)
    expected = head.gc2(head.gc1(x).relu()).relu().mean(dim=1)
    torch.testing.assert_close(head.hidden(x), expected)


def test_new_weights_are_within_the_usual_bounds() -> None:
    head = TemporalGraph(64, 16, 4)
    assert 0.8 / 8 < float(head.gc1.w_one.detach().abs().max()) <= 1 / math.sqrt(64)
    assert float(head.gc1.weight.detach().abs().max()) <= 1 / math.sqrt(16)


def test_other_sizes_and_keys_are_refused_by_name() -> None:
    head = TemporalGraph(6, 5, 4)
    state = head.state_dict()
    with pytest.raises(WeightsError, match=r"(?s)missing: gc1\.bias.*unknown: gc9\.bias"):
        head.load_published({("gc9.bias" if name == "gc1.bias" else name): value for name, value in state.items()})
    with pytest.raises(WeightsError, match=r"gc3\.weight: \[5, 3\], expected \[5, 4\]"):
        head.load_published(state | {"gc3.weight": torch.zeros(5, 3)})
    with pytest.raises(ShapeError, match=r"\[B, N, 6\] clip features, not \[2, 16, 7\]"):
        head(torch.zeros(2, 16, 7))
    with pytest.raises(ShapeError, match="n_classes=0"):
        TemporalGraph(6, 5, 0)


def test_bf16_agrees_with_fp32_and_keeps_float32_outside() -> None:
    torch.manual_seed(0)
    exact, rough = TemporalGraph(64, 16, 4).eval(), TemporalGraph(64, 16, 4, precision="bf16").eval()
    rough.load_state_dict(exact.state_dict())
    x, slow_index = torch.randn(8, 16, 64), torch.tensor([0, 7, 9, 12])
    for ours, theirs in zip(rough.two_speeds(x, slow_index), exact.two_speeds(x, slow_index), strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0.05)
    assert rough.hidden(x).dtype == torch.float32
    rough(x).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in rough.parameters())

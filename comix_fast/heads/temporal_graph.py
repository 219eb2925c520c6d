"""The temporal graph head of CoMix: three graph convolutions over the clips of one video."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comix_fast.errors import ShapeError, WeightsError, first_few

Precision = Literal["fp32", "bf16"]
_PREFIXES = ("module.", "graph.", "weights.")


class GraphConvolution(nn.Module):
    """One graph convolution whose affinity is learnt from the nodes themselves (CoMix, section 3.1).

    With x [B, N, in]: A = softmax over the first node axis of (W₁x)ᵀ(W₂x), output A·(x W) + b (published code).
    weight: [in, out]; bias: [out]; w_one, w_two: [in, in].
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_dim, out_dim))
        self.bias = nn.Parameter(torch.empty(out_dim))
        self.w_one = nn.Parameter(torch.empty(in_dim, in_dim))
        self.w_two = nn.Parameter(torch.empty(in_dim, in_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√fan, as graph convolutions usually start (Kipf & Welling's code)."""
        for parameter, fan in (
            (self.weight, self.weight.shape[1]),
            (self.bias, self.weight.shape[1]),
            (self.w_one, self.w_one.shape[1]),
            (self.w_two, self.w_two.shape[1]),
        ):
            bound = 1.0 / math.sqrt(fan)
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Everything that is computed node by node: W₁x, W₂x [B, N, in] and x W [B, N, out]."""
        return F.linear(x, self.w_one), F.linear(x, self.w_two), x @ self.weight

    def aggregate(self, one: Tensor, two: Tensor, values: Tensor) -> Tensor:
        """Everything that couples nodes: affinities of `project`'s results, and the weighted sum."""
        affinity = torch.softmax(one @ two.transpose(1, 2), dim=1)
        return affinity @ values + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, in] -> [B, N, out]."""
        return self.aggregate(*self.project(x))


class TemporalGraph(nn.Module):
    """CoMix's head: graph convolutions in_dim → hidden → hidden → classes, mean over nodes.

    Takes [B, N, in_dim] float clip features in temporal order, any N ≥ 1; gives [B, n_classes] logits.
    ReLU and dropout follow the first two layers; in eval mode there is no dropout (the published code leaves
    it on). precision: "bf16" computes the matrix products in bfloat16 (torch.autocast); weights, the mean over
    nodes and what comes after stay float32.
    """

    def __init__(
        self, in_dim: int, hidden_dim: int, n_classes: int, dropout: float = 0.1, precision: Precision = "fp32"
    ) -> None:
        super().__init__()
        if min(in_dim, hidden_dim, n_classes) < 1:
            raise ShapeError(
                f"a temporal graph needs sizes of at least 1, not in_dim={in_dim}, hidden_dim={hidden_dim}, "
                f"n_classes={n_classes}"
            )
        self.in_dim = in_dim
        self.gc1 = GraphConvolution(in_dim, hidden_dim)
        self.gc2 = GraphConvolution(hidden_dim, hidden_dim)
        self.gc3 = GraphConvolution(hidden_dim, n_classes)
        self.dropout = dropout
        self.precision = precision

    def _products(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _activate(self, x: Tensor) -> Tensor:
        return F.dropout(F.relu(x), self.dropout, self.training)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[2] != self.in_dim:
            raise ShapeError(
                f"the head takes [B, N, {self.in_dim}] clip features, not {list(x.shape)}",
                hint="one row per clip: is this cache from another backbone?",
            )

    def hidden(self, x: Tensor) -> Tensor:
        """[B, N, in_dim] -> [B, hidden_dim]: the mean over clips before the last layer, for retrieval."""
        self._check(x)
        with self._products(x):
            nodes = self._activate(self.gc2(self._activate(self.gc1(x))))
        return nodes.to(x.dtype).mean(dim=1)

    def _after_first(self, x: Tensor) -> Tensor:
        nodes: Tensor = self.gc3(self._activate(self.gc2(self._activate(x))))
        return nodes.to(self.gc3.bias.dtype).mean(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, in_dim] -> [B, n_classes] logits."""
        self._check(x)
        with self._products(x):
            return self._after_first(self.gc1(x))

    def two_speeds(self, x: Tensor, slow_index: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all clips ("fast") and of the clips slow_index [n] ("slow"), both [B, n_classes].

        Equal to two calls of the head; the slow nodes are a subset of the fast ones, so the first layer's
        projections, most of the arithmetic, are computed once.
        """
        self._check(x)
        with self._products(x):
            projected = self.gc1.project(x)
            slow = tuple(part.index_select(1, slow_index) for part in projected)
            return self._after_first(self.gc1.aggregate(*projected)), self._after_first(self.gc1.aggregate(*slow))

    def load_published(self, state_dict: Mapping[str, Tensor]) -> TemporalGraph:
        """Loads gc{1,2,3}.{weight,bias,w_one,w_two}, with or without "module." and "graph." before them.

        Raises WeightsError when keys are missing, unknown or of another shape.
        """
        given = {_without_prefixes(name): torch.as_tensor(value) for name, value in state_dict.items()}
        expected = self.state_dict()
        missing, unknown = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
        if missing or unknown:
            raise WeightsError(
                "these are not the weights of a temporal graph",
                [f"missing: {first_few(missing) or 'none'}", f"unknown: {first_few(unknown) or 'none'}"],
            )
        wrong = [
            f"{name}: {list(given[name].shape)}, expected {list(value.shape)}"
            for name, value in expected.items()
            if given[name].shape != value.shape
        ]
        if wrong:
            raise WeightsError("the weights have other sizes than this head", wrong)
        self.load_state_dict(given)
        return self


def _without_prefixes(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name

"""The temporal graph head of CoMix: three graph convolutions over the clips of one video."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comix_fast.errors import ShapeError
from comix_fast.heads.dropout import dropout_factors
from comix_fast.heads.head import UNDECIDED, Dropped, Head, Precision

_PREFIXES = ("module.", "graph.", "weights.")


class GraphConvolution(nn.Module):
    """One graph convolution whose affinity is learnt from the nodes themselves (CoMix, section 3.1).

    With x [B, N, in]: A = softmax over the first node axis of (W₁x)ᵀ(W₂x), output A·(x W) + b (published code).
    weight: [in, out]; bias: [out]; w_one, w_two: [in, in]; all with n_heads in front where there are several.
    """

    def __init__(self, in_dim: int, out_dim: int, n_heads: int | None = None) -> None:
        super().__init__()
        lead = () if n_heads is None else (n_heads,)
        self.weight = nn.Parameter(torch.empty(*lead, in_dim, out_dim))
        self.bias = nn.Parameter(torch.empty(*lead, out_dim))
        self.w_one = nn.Parameter(torch.empty(*lead, in_dim, in_dim))
        self.w_two = nn.Parameter(torch.empty(*lead, in_dim, in_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√fan, as graph convolutions usually start (Kipf & Welling's code)."""
        for parameter, fan in (
            (self.weight, self.weight.shape[-1]),
            (self.bias, self.weight.shape[-1]),
            (self.w_one, self.w_one.shape[-1]),
            (self.w_two, self.w_two.shape[-1]),
        ):
            bound = 1.0 / math.sqrt(fan)
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Everything that is computed node by node, in one product: affinity scores [B, N, N], x W [B, N, out]."""
        rows = x.to(dtype).flatten(-3, -2)
        parts = _Project.apply(rows, self.w_one, self.w_two, self.weight)
        one, two, values = (part.unflatten(-2, x.shape[-3:-1]) for part in parts)
        return one @ two.mT, values

    def affinity(self, scores: Tensor, keep: Tensor | None = None) -> Tensor:
        """Softmax over the first node axis. keep [B, N] bool: the nodes there are; others neither get nor give."""
        scores = scores.to(self.bias.dtype)
        if keep is None:
            return torch.softmax(scores, dim=-2)
        return torch.softmax(scores.masked_fill(~keep[..., None], -torch.inf), dim=-2) * keep[..., None, :]

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, in] -> [B, N, out]."""
        scores, values = self.project(x, x.dtype)
        return self.affinity(scores) @ values + self.bias[..., None, None, :]


class _Project(torch.autograd.Function):
    """x W₁ᵀ, x W₂ᵀ and x W, computed in the number format of x.

    Written out, matrix by matrix and head by head: a weight is then cast and used, a gradient computed and cast,
    while it is in the processor's cache. Autograd's own casts go through memory, at twice a step's time. On CUDA all
    heads go through one call.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, one: Tensor, two: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        """x [M, in], one, two [in, in], values [in, out] -> [M, in], [M, in], [M, out]; R heads: R in front of each."""
        ctx.save_for_backward(x, one, two, values)
        weights = (one.mT, two.mT, values)
        products = [x.new_empty((*x.shape[:-1], weight.shape[-1])) for weight in weights]
        for heads in _at_once(x):
            for weight, product in zip(weights, products, strict=True):
                torch.matmul(x[heads], weight[heads].to(x.dtype), out=product[heads])
        return tuple(products)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, if it needs one, and of the three weights in their own number format."""
        x, *weights = ctx.saved_tensors
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        for heads in _at_once(x):
            rows = x[heads]
            for part, (weight, gradient, out) in enumerate(zip(weights, gradients, of_weights, strict=True)):
                given = gradient[heads]
                out[heads].copy_(rows.mT @ given if part == 2 else given.mT @ rows)
                if of_x is not None:
                    matrix, sums = weight[heads].to(x.dtype), of_x[heads]
                    add = sums.addmm_ if sums.ndim == 2 else sums.baddbmm_
                    add(given, matrix.mT if part == 2 else matrix)
        return of_x, *of_weights


def _at_once(x: Tensor) -> Sequence[Any]:
    """Which heads' matrices are multiplied in one call, as indices of [...] or [R, ...] tensors.

    One head's, or on CUDA all heads', where starting a call takes longer than the products.
    """
    return (...,) if x.ndim == 2 or x.device.type == "cuda" else range(len(x))


class _WithoutEffect(torch.autograd.Function):
    """Passes a tensor on; weights that cannot change it get the gradient they have, which is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        """x as it is."""
        ctx.save_for_backward(*weights)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """The gradient of x as it is, zeros for the weights."""
        return gradients[0], *(torch.zeros_like(weight) for weight in ctx.saved_tensors)


class TemporalGraph(Head):
    """CoMix's head: graph convolutions in_dim → hidden → hidden → classes, mean over nodes.

    Takes [B, N, in_dim] float clip features in temporal order, any N ≥ 1; gives [B, n_classes] logits.
    ReLU and dropout follow the first two layers; in eval mode there is no dropout (the published code leaves
    it on). precision: "bf16" computes the matrix products in bfloat16; weights, softmax, the mean over nodes and
    what comes after stay float32.
    n_heads: R heads of one shape side by side, each with weights and inputs of its own: then every shape above, and
    in the methods, has R in front. They compute what R single heads would, in fewer and larger operations.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        n_classes: int,
        dropout: float = 0.1,
        precision: Precision = "fp32",
        n_heads: int | None = None,
    ) -> None:
        super().__init__()
        if min(in_dim, hidden_dim, n_classes) < 1:
            raise ShapeError(
                f"a temporal graph needs sizes of at least 1, not in_dim={in_dim}, hidden_dim={hidden_dim}, "
                f"n_classes={n_classes}"
            )
        self.in_dim, self.hidden_dim, self.n_classes = in_dim, hidden_dim, n_classes
        self.n_heads = n_heads
        self.gc1 = GraphConvolution(in_dim, hidden_dim, n_heads)
        self.gc2 = GraphConvolution(hidden_dim, hidden_dim, n_heads)
        self.gc3 = GraphConvolution(hidden_dim, n_classes, n_heads)
        self.dropout = dropout
        self.precision = precision

    def alike(self, n_heads: int | None) -> Self:
        return type(self)(self.in_dim, self.hidden_dim, self.n_classes, self.dropout, self.precision, n_heads)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else self.gc3.bias.dtype

    def _activate(self, layer: GraphConvolution, product: Tensor, dropped: Tensor | None = None) -> Tensor:
        x = F.relu(product + layer.bias[..., None, None, :].to(product.dtype))
        if dropped is None and self.training and self.dropout:
            dropped = dropout_factors(x.shape, self.dropout, None, x.dtype, x.device)
        return x if dropped is None else x * dropped

    def _nodes(self, x: Tensor, keep: Tensor | None = None, dropped: Tensor | None = None) -> Tensor:
        """The second layer."""
        scores, values = self.gc2.project(x, self._dtype)
        return self._activate(self.gc2, self.gc2.affinity(scores, keep).to(values.dtype) @ values, dropped)

    def _mean_node(self, nodes: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, N, hidden] -> [B, hidden]: the mean over (kept) nodes, in the weights' number format."""
        nodes = nodes.to(self.gc3.bias.dtype)
        if keep is None:
            return nodes.mean(dim=-2)
        share = keep.to(nodes.dtype) / keep.sum(dim=-1, keepdim=True)
        return (share[..., None, :] @ nodes).squeeze(-2)

    def classify(self, features: Tensor) -> Tensor:
        """The third layer on the mean node, [B, hidden] -> [B, classes].

        An affinity's columns sum to 1, so the mean of A·v over nodes is the mean of v: the third layer's affinity
        decides nothing, and what is left is a linear map of the mean node. The published head computes it all.
        """
        layer = self.gc3
        logits = features @ layer.weight + layer.bias[..., None, :]
        if torch.is_grad_enabled():
            logits = _WithoutEffect.apply(logits, layer.w_one, layer.w_two)
        return logits

    def _first(self, x: Tensor, dropped: Tensor | None = None) -> Tensor:
        """The first layer."""
        scores, values = self.gc1.project(x, self._dtype)
        return self._activate(self.gc1, self.gc1.affinity(scores).to(values.dtype) @ values, dropped)

    def features(self, x: Tensor, dropped: Dropped = UNDECIDED) -> Tensor:
        """[B, N, in_dim] -> [B, hidden_dim]: the mean over clips before the last layer."""
        self._check(x)
        return self._mean_node(self._nodes(self._first(x, dropped[0]), None, dropped[1]))

    def dropout_shape(self, n_videos: int, n_clips: int) -> tuple[int, ...]:
        return n_videos, n_clips, self.hidden_dim

    @property
    def last_weights(self) -> Tensor:
        return self.gc3.weight.mT

    @property
    def title(self) -> str:
        return "temporal graph"

    def two_speeds(self, x: Tensor, slow: Tensor, dropped: Dropped = UNDECIDED) -> tuple[Tensor, Tensor]:
        """Logits of all clips ("fast") and of the clips of the slow view, both [B, n_classes].

        slow: [n] int64 clip numbers, or [N] bool, which clips it has. dropped: factors of the two dropouts,
        [2 · B, N, hidden_dim] each, every video's fast before its slow (`dropout_factors`); None draws them.
        Equal to two calls of the head. The slow nodes are among the fast ones, so the first layer's products, most
        of the arithmetic, are computed once; a mask leaves the others out, so that shapes stay the same whatever
        is drawn and both speeds go through the other layers together.
        """
        self._check(x)
        n_videos, n_nodes = x.shape[-3:-1]
        keep = slow if slow.dtype == torch.bool else _chosen(slow, n_nodes)
        scores, values = self.gc1.project(x, self._dtype)
        speeds = [self.gc1.affinity(scores), self.gc1.affinity(scores, keep[..., None, :])]
        product = torch.cat(speeds, dim=-2).to(values.dtype) @ values
        both = product.reshape(*x.shape[:-3], 2 * n_videos, n_nodes, product.shape[-1])
        nodes = self._activate(self.gc1, both, dropped[0])
        keep = torch.stack([torch.ones_like(keep), keep], dim=-2).repeat(*([1] * (keep.ndim - 1)), n_videos, 1)
        logits = self.classify(self._mean_node(self._nodes(nodes, keep, dropped[1]), keep))
        logits = logits.reshape(*x.shape[:-3], n_videos, 2, logits.shape[-1])
        return logits[..., 0, :], logits[..., 1, :]

    def load_published(self, state_dict: Mapping[str, Tensor]) -> Self:
        """Loads gc{1,2,3}.{weight,bias,w_one,w_two}, with or without "module." and "graph." before them.

        Raises WeightsError when keys are missing, unknown or of another shape.
        """
        return super().load_published(
            {_without_prefixes(name): torch.as_tensor(value) for name, value in state_dict.items()}
        )


def _without_prefixes(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _chosen(index: Tensor, n_nodes: int) -> Tensor:
    chosen = torch.zeros(*index.shape[:-1], n_nodes, dtype=torch.bool, device=index.device)
    return chosen.scatter_(-1, index, True)

"""Batch norm taken into the convolution before it: for inference the two are one affine map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_into(conv: nn.Conv3d, bn: nn.BatchNorm3d) -> None:
    """Scale and shift the convolution, in place, so that it gives what the two gave together."""
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("batch norm without running statistics can't be folded")
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )


def fold_sequences(module: nn.Module) -> None:
    """Fold every batch norm that follows a convolution inside an nn.Sequential, however deeply they nest.

    Each one folded is replaced by nn.Identity, so a second call changes nothing.
    """
    if isinstance(module, nn.Sequential):
        for (_, _, first), (parent, name, second) in pairwise(_leaves(module)):
            if isinstance(first, nn.Conv3d) and isinstance(second, nn.BatchNorm3d):
                fold_into(first, second)
                setattr(parent, name, nn.Identity())
    for child in module.children():
        fold_sequences(child)


def _leaves(sequence: nn.Sequential) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, module) of what runs in a Sequential, in order; any other container counts as one."""
    for name, child in sequence.named_children():
        if isinstance(child, nn.Sequential):
            yield from _leaves(child)
        else:
            yield sequence, name, child

"""What every video network here offers to the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class VideoNetwork(nn.Module, ABC):
    """A network in its trainable form: parameters under the names its public checkpoints use.

    fold() turns it, once and for good, into a form that is only for inference.
    """

    classifier_name: str
    """The child that makes logits of features; its keys in a state dict start with this name and a dot."""

    @abstractmethod
    def forward(self, clips: Tensor) -> Tensor:
        """[B, 3, T, H, W] float32, normalised as the network was trained -> features [B, D] float32."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """[B, D] float32 -> logits [B, K] float32."""

    @abstractmethod
    def fold(self) -> None:
        """Take batch norm into the convolutions before it, in place. Only in eval mode, on float32 weights."""

    def trunk(self) -> list[nn.Module]:
        """The children that run before the features."""
        return [child for name, child in self.named_children() if name != self.classifier_name]

    def to_bf16(self) -> None:
        """Turn a folded network into one that computes in bfloat16 up to the features, in place."""
        for child in self.trunk():
            child.to(torch.bfloat16)

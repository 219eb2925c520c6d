"""What every video network here offers to the rest."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class VideoNetwork(nn.Module, ABC):
    """A network in its trainable form: parameters under the names its public checkpoints use.

    fold() turns it, once and for good, into a form that is only for inference.
    """

    classifier_name: str
    """The child that makes logits of features; its keys in a state dict start with this name and a dot."""
    recomputes = False
    """Whether the way back computes each part's maps again instead of keeping them: less memory, more time."""
    in_steps: frozenset[str] = frozenset()
    """Parts too large to be computed again whole: they do so step by step themselves."""

    def forward(self, clips: Tensor) -> Tensor:
        """[B, 3, T, H, W] float32, normalised as the network was trained -> features [B, D] float32.

        The mean over the last map's T', H', W'.
        """
        return self.pooled(self.through(clips))

    def through(self, x: Tensor, since: int = 0, until: int | None = None) -> Tensor:
        """Some of the parts, by their place in part_names(): maps of the part before `since` -> of the last one."""
        for name in self.part_names()[since:until]:
            x = self.part(name, x) if name in self.in_steps else self.again(functools.partial(self.part, name), x)
        return x

    def again(self, step: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """step(x), whose own maps the way back computes again if the network recomputes."""
        if not (self.recomputes and torch.is_grad_enabled()):
            return step(x)
        out: Tensor = checkpoint(step, x, use_reentrant=False, preserve_rng_state=False)
        return out

    @staticmethod
    def pooled(maps: Tensor) -> Tensor:
        """[B, D, T', H', W'] -> [B, D] float32."""
        return maps.float().mean(dim=(2, 3, 4))

    @abstractmethod
    def part_names(self) -> Sequence[str]:
        """The parts of the forward pass, in their order, each named after the child that it ends with or is."""

    @abstractmethod
    def part(self, name: str, x: Tensor) -> Tensor:
        """One part: the maps of the one before it, or clips -> its maps."""

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

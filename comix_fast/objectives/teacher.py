"""Pseudo-labels from an averaged head, kept to plausible class shares, taught on background-mixed clips."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from comix_fast.heads import Head, SideBySide
from comix_fast.losses.contrastive import Number
from comix_fast.objectives.objective import Batch

RAMP = 0.3
"""Share of the iterations over which the term grows from nothing to its full weight."""
_TINY = 1e-6


def wanted_shares(prior: Tensor, predicted: Tensor, prior_weight: float) -> Tensor:
    """[C] class shares that pseudo-labels are kept to: prior^w · predicted^(1 − w), normalised.

    prior: [C], the source's class shares. predicted: [C], what the warm-started head says of the target. With w = 1 the
    target is taken to have the source's classes as often as it, which is costly where it has not; with w = 0 the head's
    own view is kept.
    """
    shares = prior.clamp_min(_TINY) ** prior_weight * predicted.clamp_min(_TINY) ** (1 - prior_weight)
    return shares / shares.sum()


class Teacher(SideBySide):
    """The mean over iterations of a head (Tarvainen & Valpola 2017, mean teacher), and what it teaches.

    Its view of a plain target video, softmax(logits / T), is multiplied by wanted / running shares and normalised (the
    distribution alignment of ReMixMatch, Berthelot et al. 2020, to shares of our own, see wanted_shares) and is the
    soft label of the same clips over another background. No gradient flows through the teacher.

    head: the warm-started head, copied. wanted, running: [C] class shares, those to keep to and those the teacher gave
    lately; with n_heads in front where there are several.
    """

    wanted: Tensor
    running: Tensor

    def __init__(self, head: Head, wanted: Tensor, running: Tensor, n_heads: int | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.head = head.alike(n_heads)
        if n_heads is None and self.head.device.type != "meta":
            self.head.load_state_dict(head.state_dict())
        self.head.requires_grad_(False)
        self.register_buffer("wanted", wanted.clone())
        self.register_buffer("running", running.clone())
        self._seen: Tensor | None = None

    def alike(self, n_heads: int | None) -> Self:
        n_classes = self.wanted.shape[-1]
        shares = torch.empty(n_classes if n_heads is None else (n_heads, n_classes))
        return type(self)(self.head, shares, shares, n_heads)

    def loss(self, head: Head, batch: Batch) -> Tensor:
        """Cross-entropy of the head on target videos against the teacher's soft labels, times the ramp."""
        _, target = batch.both
        with torch.no_grad():
            logits = self.head.eval()(target)
            given = torch.softmax(logits / _over(batch.numbers["teacher_temperature"], 2), dim=-1)
            self._seen = given.mean(dim=-2)
            label = given * (self.wanted / self.running.clamp_min(_TINY))[..., None, :]
            label = label / label.sum(dim=-1, keepdim=True)
        shown = target if batch.target_mixed is None else batch.target_mixed
        said = torch.log_softmax(head(shown, batch.dropped("teacher", shown.shape[-3])), dim=-1)
        return -(label * said).sum(dim=-1).mean(dim=-1) * min(1.0, batch.progress / RAMP)

    @torch.no_grad()
    def follow(self, head: Head, batch: Batch) -> None:
        """One step of both averages."""
        momentum = batch.numbers["teacher_momentum"]
        for mine, theirs in zip(self.head.parameters(), head.parameters(), strict=True):
            mine.add_((theirs - mine) * (1 - _over(momentum, mine.ndim - 1)))
        if self._seen is not None:
            self.running.add_((self._seen - self.running) * (1 - _over(momentum, 1)))


def _over(number: Number, n_axes: int) -> Number:
    """A number for each head, [R], with so many axes behind it."""
    return number[(...,) + (None,) * n_axes] if isinstance(number, Tensor) else number

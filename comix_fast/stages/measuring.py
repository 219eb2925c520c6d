"""What a head says of a bank's videos: logits, how often they are right, what can be said of them without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from comix_fast.heads import Head
from comix_fast.selection import Evidence, Labelled, scores
from comix_fast.stages.bank import Banks, FeatureBank, Standardise

WIDEST = 512
"""Label-free scores of wider features are taken of a random projection to half as many: angles and distances stay
within some per cent (Johnson & Lindenstrauss 1984), and a score's cost grows with the square of the width."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One evaluation. line: as metrics.jsonl has it; predicted: [V] int64, the class of every measured video."""

    line: dict[str, Any]
    predicted: Tensor


@torch.inference_mode()
def predict(head: Head, bank: FeatureBank, norm: Standardise, batch: int = 128) -> tuple[Tensor, Tensor]:
    """Logits [V, C] and what the last layer sees, [V, F], of a bank's videos on their test clips, dropout off; on the
    CPU."""
    head.eval()
    device = bank.clips.device
    seen = [head.features(norm(bank.clips.take(rows.to(device)))) for rows in torch.split(bank.bin_first, batch)]
    features = torch.cat(seen)
    return head.classify(features).cpu(), features.cpu()


def predict_logits(head: Head, bank: FeatureBank, norm: Standardise, batch: int = 128) -> Tensor:
    """[V, C] logits of a bank's videos on their test clips, dropout off, on the CPU."""
    return predict(head, bank, norm, batch)[0]


def accuracy(logits: Tensor, labels: Tensor) -> float | None:
    """Share of labelled videos whose likeliest class is their label, in [0, 1]; None if none is labelled."""
    labelled = labels >= 0
    if not bool(labelled.any()):
        return None
    return float((logits.argmax(dim=1) == labels)[labelled].double().mean())


def measure(head: Head, banks: Banks, norms: tuple[Standardise, Standardise]) -> Measured:
    """Label-free scores on the unlabelled target training videos, and the accuracy, which decides nothing.

    The line: "scores", every score of comix_fast.selection by name (None where it is not to be had), "infomax" once
    more by itself, and "target_accuracy".
    """
    logits, features = predict(head, banks.target, norms[1])
    of_measured = logits if banks.measured is banks.target else predict_logits(head, banks.measured, norms[1])
    source_logits, source_features = predict(head, banks.source, norms[0])
    narrow = _narrowed(features.shape[1])

    @torch.inference_mode()
    def mixed(first: Tensor, second: Tensor, share: float) -> Tensor:
        target, device = banks.target, banks.target.clips.device
        one, other = (norms[1](target.clips.take(target.bin_first[of].to(device))) for of in (first, second))
        logits: Tensor = head(share * one + (1 - share) * other)
        return logits.cpu()

    held_out = None
    if banks.held_out is not None:
        their_logits, their_features = predict(head, banks.held_out, norms[0])
        held_out = Labelled(narrow(their_features), their_logits, banks.held_out.labels)
    evidence = Evidence(
        logits=logits,
        features=narrow(features),
        source=Labelled(narrow(source_features), source_logits, banks.source.labels),
        held_out=held_out,
        classifier=narrow(head.last_weights.detach().cpu()),
        mixed=mixed,
    )
    found = scores(evidence)
    right = accuracy(of_measured, banks.measured.labels)
    line = {"infomax": found["infomax"], "scores": found, "target_accuracy": right}
    return Measured(line, of_measured.argmax(dim=1))


def _narrowed(width: int) -> Callable[[Tensor], Tensor]:
    """[…, width] -> the same, or […, WIDEST // 2] if it is wider than WIDEST; the same projection every time."""
    if width <= WIDEST:
        return lambda values: values
    projection = torch.randn(width, WIDEST // 2, generator=torch.Generator().manual_seed(0)) / (WIDEST // 2) ** 0.5
    return lambda values: values @ projection

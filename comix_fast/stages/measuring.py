"""What a head says of a bank's videos: logits, how often they are right, what can be said of them without labels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from comix_fast.heads import Head
from comix_fast.selection import Evidence, Labelled, Mixed, scores
from comix_fast.stages.bank import Banks, FeatureBank, Standardise

WIDEST = 512
"""Label-free scores of wider features are taken of a random projection to half as many: angles and distances stay
within some per cent (Johnson & Lindenstrauss 1984), and a score's cost grows with the square of the width."""

THRESHOLD = 0.7
"""Of a pseudo-label's probability, as published."""

BATCH = 128
"""Videos that go through a head at once."""

Narrow = Callable[[Tensor], Tensor]
"""What to keep of features: [b, F] -> [b, F'], on their device."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One evaluation. line: as metrics.jsonl has it; predicted: [V] int64, the class of every measured video."""

    line: dict[str, Any]
    predicted: Tensor


def _as_they_are(features: Tensor) -> Tensor:
    return features


@torch.inference_mode()
def predict(
    head: Head, bank: FeatureBank, norm: Standardise, narrow: Narrow = _as_they_are, batch: int = BATCH
) -> tuple[Tensor, Tensor]:
    """Logits [V, C] of a bank's videos on their test clips, and what `narrow` keeps of what the last layer sees,
    [V, F']; dropout off, on the CPU. What it does not keep is gone after its batch."""
    seen = [(head.classify(some).cpu(), narrow(some).cpu()) for some in _features(head, bank, norm, batch)]
    logits, kept = zip(*seen, strict=True)
    return torch.cat(logits), torch.cat(kept)


@torch.inference_mode()
def predict_logits(head: Head, bank: FeatureBank, norm: Standardise, batch: int = BATCH) -> Tensor:
    """[V, C] logits of a bank's videos on their test clips, dropout off, on the CPU."""
    return torch.cat([head.classify(some).cpu() for some in _features(head, bank, norm, batch)])


def _features(head: Head, bank: FeatureBank, norm: Standardise, batch: int) -> Iterator[Tensor]:
    """What the last layer sees of each batch of videos, [b, F], where the head is."""
    head.eval()
    device = bank.clips.device
    for rows in torch.split(bank.bin_first, batch):
        yield head.features(norm(bank.clips.take(rows.to(device))))


def accuracy(logits: Tensor, labels: Tensor) -> float | None:
    """Share of labelled videos whose likeliest class is their label, in [0, 1]; None if none is labelled."""
    labelled = labels >= 0
    if not bool(labelled.any()):
        return None
    return float((logits.argmax(dim=1) == labels)[labelled].double().mean())


def pseudo_labelled(logits: Tensor, labels: Tensor, threshold: float) -> dict[str, Any]:
    """How many videos a head would give a pseudo-label, and how many of these are right, if it is known.

    logits: [V, C]; labels: [V] int64, −1 where unlabelled, of the same videos. They measure only. A video is confident
    where the likeliest class of softmax(logits) has a probability ≥ threshold.
    Returns "threshold", "coverage" (the confident share of all V, in [0, 1]), "precision" (the share of confident
    labelled videos whose likeliest class is their label; None if there is none), "n_confident" and "n_labelled" (of
    the confident).
    """
    probability, likeliest = torch.softmax(logits.float(), dim=1).max(dim=1)
    confident = probability >= threshold
    known = confident & (labels >= 0)
    n_confident, n_labelled = int(confident.sum()), int(known.sum())
    return {
        "threshold": threshold,
        "coverage": n_confident / len(logits),
        "precision": int((likeliest == labels)[known].sum()) / n_labelled if n_labelled else None,
        "n_confident": n_confident,
        "n_labelled": n_labelled,
    }


def measure(head: Head, banks: Banks, norms: tuple[Standardise, Standardise], threshold: float = THRESHOLD) -> Measured:
    """Label-free scores on the unlabelled target training videos, and what their labels, if any, say of the head.

    The line: "scores", every score of comix_fast.selection by name (None where it is not to be had), "infomax" once
    more by itself, "target_accuracy", and "pseudo", what pseudo_labelled says of the target's training videos at
    `threshold`, the recipe's. Those are the labels that this head would give on test clips: training draws its clips,
    and CoMix takes the mean of both speeds' logits, so what an iteration used may differ.
    The target's labels measure the accuracy and the precision, which decide nothing.
    """
    narrow = _narrowed(head.last_weights.shape[-1])
    logits, features = predict(head, banks.target, norms[1], narrow)
    of_measured = logits if banks.measured is banks.target else predict_logits(head, banks.measured, norms[1])
    source = held_out = None
    if banks.held_out is not None:
        source, held_out = (_labelled(head, bank, norms[0], narrow) for bank in (banks.source, banks.held_out))
    evidence = Evidence(
        logits=logits,
        features=features,
        source=source,
        held_out=held_out,
        classifier=narrow(head.last_weights.detach()).cpu(),
        mixed=_mixed(head, banks.target, norms[1]),
    )
    found = scores(evidence)
    right = accuracy(of_measured, banks.measured.labels)
    pseudo = pseudo_labelled(logits, banks.target.labels, threshold)
    line = {"infomax": found["infomax"], "scores": found, "target_accuracy": right, "pseudo": pseudo}
    return Measured(line, of_measured.argmax(dim=1))


def _labelled(head: Head, bank: FeatureBank, norm: Standardise, narrow: Narrow) -> Labelled:
    logits, features = predict(head, bank, norm, narrow)
    return Labelled(features, logits, bank.labels)


def _mixed(head: Head, bank: FeatureBank, norm: Standardise) -> Mixed:
    """The head on mixes of a bank's videos, a batch of them at a time."""
    device = bank.clips.device

    @torch.inference_mode()
    def mixed(first: Tensor, second: Tensor, share: float) -> Tensor:
        logits: list[Tensor] = []
        for pair in zip(torch.split(first, BATCH), torch.split(second, BATCH), strict=True):
            one, other = (norm(bank.clips.take(bank.bin_first[of].to(device))) for of in pair)
            logits.append(head(share * one + (1 - share) * other).cpu())
        return torch.cat(logits)

    return mixed


def _narrowed(width: int) -> Narrow:
    """[…, width] -> the same, or […, WIDEST // 2] if it is wider than WIDEST; the same projection every time."""
    if width <= WIDEST:
        return _as_they_are

    def narrow(features: Tensor) -> Tensor:
        return features @ _projection(width, features.device)

    return narrow


# An evaluation asks for it in every batch, and drawing a million numbers takes longer than a batch.
@functools.lru_cache(maxsize=4)
def _projection(width: int, device: torch.device) -> Tensor:
    """[width, WIDEST // 2] float32, drawn on the CPU so that every device has the same."""
    drawn = torch.randn(width, WIDEST // 2, generator=torch.Generator().manual_seed(0))
    return (drawn / math.sqrt(WIDEST // 2)).to(device)

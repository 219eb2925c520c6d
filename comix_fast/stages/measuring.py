"""What a head says of a bank's videos, and how often that is right."""

from __future__ import annotations

import torch
from torch import Tensor

from comix_fast.heads import TemporalGraph
from comix_fast.stages.bank import FeatureBank, Standardise


@torch.inference_mode()
def predict_logits(head: TemporalGraph, bank: FeatureBank, norm: Standardise, batch: int = 128) -> Tensor:
    """[V, C] logits of a bank's videos on their test clips, dropout off, on the CPU."""
    head.eval()
    device = bank.clips.device
    logits = [head(norm(bank.clips.take(rows.to(device)))) for rows in torch.split(bank.bin_first, batch)]
    return torch.cat(logits).cpu()


def accuracy(logits: Tensor, labels: Tensor) -> float | None:
    """Share of labelled videos whose likeliest class is their label, in [0, 1]; None if none is labelled."""
    labelled = labels >= 0
    if not bool(labelled.any()):
        return None
    return float((logits.argmax(dim=1) == labels)[labelled].double().mean())

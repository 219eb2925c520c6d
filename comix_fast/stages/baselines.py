"""Deterministic baselines: a linear classifier of the source's videos, on statistics of their clips over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from comix_fast.classical import fit_logistic
from comix_fast.config import FeatureNorm
from comix_fast.stages.bank import Banks, FeatureBank, Standardise
from comix_fast.stages.pooling import pooled_bank


def logistic_baseline(banks: Banks, statistics: Sequence[str], norm: FeatureNorm, n_classes: int) -> Tensor:
    """Logistic regression of the source's labels on some of pooling.STATISTICS; no label of the target is used.

    norm: "source" standardises both domains by the source's statistics, "domain" each by those of its own training
    videos, "none" neither; the measured videos by the target's. Every feature then has unit variance: unlike before
    the graph head, nothing brings the source's size back. Returns the measured videos' logits, [V, n_classes] float64
    on the CPU, in the bank's order. Raises ComixError as parse_statistics and fit_logistic do.
    """
    source = _pooled(banks.source, statistics)
    target = _pooled(banks.target, statistics) if norm == "domain" or banks.measured is banks.target else None
    measured = target if target and banks.measured is banks.target else _pooled(banks.measured, statistics)
    of_source = _unchanged(source) if norm == "none" else source.standardise()
    of_target = target.standardise() if target and norm == "domain" else of_source
    model = fit_logistic(_seen(source, of_source), source.labels.cpu(), n_classes)
    return model.logits(_seen(measured, of_target))


def _pooled(bank: FeatureBank, statistics: Sequence[str]) -> FeatureBank:
    # Nothing here draws mixed clips.
    return pooled_bank(replace(bank, mixed=None, mixed_rows=None, mixed_first=None), statistics)


def _unchanged(bank: FeatureBank) -> Standardise:
    dim, device = bank.clips.dim, bank.clips.device
    return Standardise(torch.zeros(dim, device=device), torch.ones(dim, device=device))


def _seen(bank: FeatureBank, norm: Standardise) -> Tensor:
    return norm(bank.clips.read(0, len(bank.clips))).cpu()

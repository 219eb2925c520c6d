"""Deterministic baselines: a linear classifier of the source's videos, on statistics of their clips over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from comix_fast.classical import LinearModel, fit_logistic
from comix_fast.config import FeatureNorm
from comix_fast.stages.bank import Banks, FeatureBank, Standardise
from comix_fast.stages.pooling import pooled_bank


@dataclass(frozen=True, eq=False)
class Baseline:
    """A fitted model, the features it saw and what it says, all on the CPU.

    source, target, measured: [V, K·D] float32, standardised, in the order of the banks' videos; target_logits,
    measured_logits: [V, C] float64. Where target and measured are one bank, so are their tensors.
    """

    model: LinearModel
    source: Tensor
    target: Tensor
    measured: Tensor
    target_logits: Tensor
    measured_logits: Tensor


def logistic_baseline(
    banks: Banks,
    statistics: Sequence[str],
    norm: FeatureNorm,
    *,
    n_classes: int | None = None,
    seed: int = 0,
) -> Baseline:
    """Logistic regression of the source's labels on some of pooling.STATISTICS; no label of the target is used.

    norm: "source" standardises both domains by the source's statistics, "domain" each by those of its own training
    videos, "none" neither; the measured videos by the target's. Every feature then has unit variance: unlike before
    the graph head, nothing brings the source's size back. n_classes: None takes what the source's labels need. seed:
    of the folds that choose the penalty. Raises ComixError as parse_statistics and fit_logistic do.
    """
    source = _pooled(banks.source, statistics)
    target = _pooled(banks.target, statistics)
    measured = target if banks.measured is banks.target else _pooled(banks.measured, statistics)
    of_source, of_target = _norms(source, target, norm)
    seen = _seen(source, of_source)
    target_seen = _seen(target, of_target)
    measured_seen = target_seen if measured is target else _seen(measured, of_target)
    labels = source.labels.cpu()
    model = fit_logistic(seen, labels, int(labels.max()) + 1 if n_classes is None else n_classes, seed=seed)
    logits = model.logits(target_seen)
    measured_logits = logits if measured_seen is target_seen else model.logits(measured_seen)
    return Baseline(model, seen, target_seen, measured_seen, logits, measured_logits)


def _pooled(bank: FeatureBank, statistics: Sequence[str]) -> FeatureBank:
    # Nothing here draws mixed clips.
    return pooled_bank(replace(bank, mixed=None, mixed_rows=None, mixed_first=None), statistics)


def _norms(source: FeatureBank, target: FeatureBank, norm: FeatureNorm) -> tuple[Standardise, Standardise]:
    if norm == "none":
        dim, device = source.clips.dim, source.clips.device
        identity = Standardise(torch.zeros(dim, device=device), torch.ones(dim, device=device))
        return identity, identity
    of_source = source.standardise()
    return of_source, target.standardise() if norm == "domain" else of_source


def _seen(bank: FeatureBank, norm: Standardise) -> Tensor:
    return norm(bank.clips.read(0, len(bank.clips))).cpu()

"""Logistic baselines of a cache: what they see, and that no label of the target reaches them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from builders import MakeCache
from comix_fast.cache import FeatureCache
from comix_fast.classical import fit_logistic
from comix_fast.config import FeatureNorm
from comix_fast.stages.bank import load_banks
from comix_fast.stages.baselines import logistic_baseline
from comix_fast.stages.measuring import accuracy

NAMES = ("mean", "std")


def pooled(cache: FeatureCache, domain: str, split: str) -> np.ndarray:
    clips = [cache.features(video.id).astype(np.float64) for video in cache.videos(domain, split)]  # type: ignore[arg-type]
    return np.stack([np.concatenate([some.mean(axis=0), some.std(axis=0)]) for some in clips])


@pytest.mark.parametrize("norm", ["source", "domain", "none"])
@pytest.mark.parametrize("test", [False, True])
def test_each_domain_is_standardised_as_it_says(make_cache: MakeCache, norm: FeatureNorm, test: bool) -> None:
    cache = FeatureCache(make_cache(test=test))
    banks = load_banks(cache, mixed=True)
    found = logistic_baseline(banks, NAMES, norm, 3)
    source, target = pooled(cache, "source", "train"), pooled(cache, "target", "train")
    measured = pooled(cache, "target", "test") if test else target
    by = {"source": source, "domain": target, "none": None}[norm]
    model = fit_logistic(standardised(source, None if norm == "none" else source), banks.source.labels, 3)
    assert found.dtype == torch.float64
    wanted = model.logits(standardised(measured, by))
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
    # So far apart are the norms that no other would pass.
    for other in (None, source, target):
        if other is not by:
            assert (model.logits(standardised(measured, other)) - wanted).abs().max() > 0.02


def standardised(rows: np.ndarray, by: np.ndarray | None) -> torch.Tensor:
    return torch.from_numpy(rows if by is None else (rows - by.mean(axis=0)) / by.std(axis=0))


def test_it_learns_what_the_domains_share(make_cache: MakeCache) -> None:
    banks = load_banks(FeatureCache(make_cache(test=True)), mixed=False)
    share = accuracy(logistic_baseline(banks, ("mean",), "domain", 3), banks.measured.labels)
    assert share is not None
    assert share > 0.9


def test_the_targets_labels_change_no_bit(make_cache: MakeCache) -> None:
    labels = [label for label in range(3) for _ in range(6)]
    shuffled = random.Random(3).sample(labels, len(labels))
    assert shuffled != labels
    runs = []
    for name, target_labels in (("true", labels), ("shuffled", shuffled), ("unlabelled", [None] * len(labels))):
        banks = load_banks(FeatureCache(make_cache(name, target_labels=target_labels)), mixed=False)
        runs.append(logistic_baseline(banks, NAMES, "domain", 3))
    for other in runs[1:]:
        assert torch.equal(runs[0], other)


def test_mapped_features_give_the_same_model(make_cache: MakeCache) -> None:
    cache = FeatureCache(make_cache())
    one, other = (
        logistic_baseline(load_banks(cache, mixed=True, memory=form), NAMES, "source", 3) for form in ("load", "map")
    )
    assert torch.equal(one, other)


def test_classes_that_only_the_target_has_have_a_logit_too(make_cache: MakeCache) -> None:
    banks = load_banks(FeatureCache(make_cache()), mixed=False)
    assert logistic_baseline(banks, NAMES, "domain", 5).shape == (18, 5)

"""Every label-free score by name, all of them at once, and how well one ranks models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from comix_fast.errors import ShapeError
from comix_fast.selection.embedded_validation import deep_embedded_validation
from comix_fast.selection.evidence import Evidence
from comix_fast.selection.mixed import mixval
from comix_fast.selection.neighbourhood import neighbour_agreement, soft_neighbourhood_density
from comix_fast.selection.prediction import infomax, negative_entropy, nuclear_norm
from comix_fast.selection.transfer import transfer_score


@dataclass(frozen=True)
class Score:
    """One way to rank models without target labels.

    name: as in files and flags. title: as in tables. function: higher is better; None where the evidence lacks what it
    needs. source: where it comes from, one line.
    """

    name: str
    title: str
    function: Callable[[Evidence], float | None]
    source: str


_ALL = (
    Score(
        "entropy",
        "entropy (negative)",
        lambda seen: negative_entropy(seen.logits),
        "Morerio et al., Minimal-Entropy Correlation Alignment, ICLR 2018",
    ),
    Score(
        "infomax",
        "InfoMax",
        lambda seen: infomax(seen.logits),
        "Bridle et al., Unsupervised Classifiers, Mutual Information and 'Phantom Targets', NIPS 1991",
    ),
    Score(
        "snd",
        "soft neighbourhood density",
        lambda seen: soft_neighbourhood_density(seen.logits),
        "Saito et al., Tune it the Right Way, ICCV 2021",
    ),
    Score(
        "bnm",
        "batch nuclear norm",
        lambda seen: nuclear_norm(seen.logits),
        "Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization, CVPR 2020",
    ),
    Score(
        "dev",
        "deep embedded validation (negative risk)",
        deep_embedded_validation,
        "You et al., Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation, ICML 2019",
    ),
    Score(
        "mixval",
        "MixVal",
        lambda seen: mixval(seen.logits, seen.mixed),
        "Hu et al., Mixed Samples as Probes for Unsupervised Model Selection in Domain Adaptation, NeurIPS 2023",
    ),
    Score(
        "transfer-score",
        "Transfer Score",
        lambda seen: transfer_score(seen.logits, seen.features, seen.classifier),
        "Yang et al., Can We Evaluate Domain Adaptation Models Without Target-Domain Labels?, ICLR 2024",
    ),
    Score(
        "knn",
        "nearest neighbours agree",
        lambda seen: neighbour_agreement(seen.logits, seen.features),
        "the rule of Cover and Hart, Nearest Neighbor Pattern Classification, 1967, on predictions",
    ),
)

SCORES: Mapping[str, Score] = MappingProxyType({score.name: score for score in _ALL})
"""Every score by name, in the order of tables."""


def scores(evidence: Evidence) -> dict[str, float | None]:
    """Every score of one model by name, higher better; None where the evidence lacks what a score needs.

    A model whose logits or features are not all finite (training diverged) has no score: every one is None.
    """
    seen = [evidence.logits, evidence.features, evidence.classifier]
    seen += [] if evidence.source is None else [evidence.source.features]
    seen += [] if evidence.held_out is None else [evidence.held_out.features, evidence.held_out.logits]
    if not all(bool(tensor.isfinite().all()) for tensor in seen if tensor is not None):
        return dict.fromkeys(SCORES)
    return {name: score.function(evidence) for name, score in SCORES.items()}


def rank_correlation(scores: Sequence[float | None], accuracies: Sequence[float | None]) -> float | None:
    """Spearman's rank correlation of a score with accuracy over models, in [−1, 1]; ties share their mean rank.

    scores, accuracies: one per model, in the same order, finite or None; a model that lacks either is left out. None
    where fewer than three models remain or one side is constant. Raises ShapeError if the lengths differ.
    """
    if len(scores) != len(accuracies):
        raise ShapeError(f"{len(scores):,} scores but {len(accuracies):,} accuracies")
    pairs = [
        (score, accuracy)
        for score, accuracy in zip(scores, accuracies, strict=True)
        if score is not None and accuracy is not None and math.isfinite(score) and math.isfinite(accuracy)
    ]
    if len(pairs) < 3 or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    # Here, since it takes a second to import and every command that trains imports this module.
    from scipy.stats import spearmanr

    return float(spearmanr(*zip(*pairs, strict=True)).statistic)

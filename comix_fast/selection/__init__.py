"""Scores that choose a step, a run or a method without target labels."""

from comix_fast.selection.evidence import Evidence, Labelled, Mixed
from comix_fast.selection.prediction import infomax
from comix_fast.selection.registry import SCORES, Score, rank_correlation, scores

__all__ = [
    "SCORES",
    "Evidence",
    "Labelled",
    "Mixed",
    "Score",
    "infomax",
    "rank_correlation",
    "scores",
]

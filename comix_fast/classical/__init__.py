"""Classifiers that are fitted in one go, on features as they are given: no head, no random start."""

from comix_fast.classical.logistic import ABSENT, LinearModel, fit_logistic

__all__ = ["ABSENT", "LinearModel", "fit_logistic"]

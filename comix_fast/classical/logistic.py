"""Logistic regression with an L2 penalty, its strength chosen on the labels it is fitted to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.errors import ComixError, ShapeError

ABSENT = -1e6
"""Bias, and so logit, of classes without a video: exp gives exactly 0, and unlike −∞ it leaves entropies finite."""

# Of the gradient of the mean loss; at scikit-learn's 1e-4 the logits still differ in their third digit.
_TOLERANCE = 1e-7
# SciPy's L-BFGS stops without a word after 15,000 evaluations, one or two a step: this many steps come before that.
_MOST_STEPS = 7_000

_Float64s = NDArray[np.float64]
_Int64s = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """weight: [C, D], bias: [C], float64 on the CPU; penalty: the strength that was chosen, C of scikit-learn."""

    weight: Tensor
    bias: Tensor
    penalty: float

    def logits(self, features: Tensor) -> Tensor:
        """[V, D] of any float type -> [V, C] float64. Raises ShapeError if D differs."""
        if features.dim() != 2 or features.shape[1] != self.weight.shape[1]:
            raise ShapeError(f"the model takes features [V, {self.weight.shape[1]}], not {list(features.shape)}")
        return features.cpu().double() @ self.weight.T + self.bias


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    n_classes: int,
    *,
    strengths: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
    folds: int = 5,
    seed: int = 0,
) -> LinearModel:
    """The weights that minimise Σ cross-entropy + |weight|² / (2C), the bias free (scikit-learn's LogisticRegression).

    features: [V, D] float, of about unit size; labels: [V] int in [0, n_classes); strengths: the C to choose among.
    Chosen is the C that is most often right in stratified cross-validation, the smaller of two that are equally so.
    There are as many folds as asked, or as the smallest class has videos, a class of one not counted: its video is
    always trained on. Where no class has two videos, the smallest C is taken. Classes without a video get the bias
    ABSENT and no weight; of two classes, the logits are −z / 2 and z / 2 with z of the binary regression.
    seed decides the folds; nothing else is random. Raises ShapeError if shapes do not fit, ComixError for labels
    outside, numbers that are not finite, or features so large that the fit does not end.
    """
    _require_fitting(features, labels, n_classes, strengths, folds)
    x, basis = _in_their_span(features.detach().cpu().double())
    rows: _Float64s = x.numpy()
    classes, y = np.unique(labels.cpu().numpy(), return_inverse=True)
    weight = torch.zeros(n_classes, features.shape[1], dtype=torch.float64)
    bias = torch.full((n_classes,), ABSENT, dtype=torch.float64)
    strength = min(strengths)
    if len(classes) == 1:
        bias[int(classes[0])] = 0
        return LinearModel(weight, bias, strength)
    if len(strengths) > 1:
        strength = _chosen(rows, y, sorted(strengths), folds, seed)
    ((coefficients, intercepts),) = _path(rows, y, [strength])
    present = torch.from_numpy(classes)
    weight[present] = torch.from_numpy(coefficients) @ basis
    bias[present] = torch.from_numpy(intercepts)
    return LinearModel(weight, bias, strength)


def _require_fitting(features: Tensor, labels: Tensor, n_classes: int, strengths: Sequence[float], folds: int) -> None:
    if features.dim() != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ShapeError(f"features must be [V, D] and labels [V], not {list(features.shape)} and {list(labels.shape)}")
    if not (int(labels.min()) >= 0 and int(labels.max()) < n_classes):
        raise ComixError(f"labels must be in [0, {n_classes}), found {int(labels.min())} to {int(labels.max())}")
    if not bool(features.isfinite().all()):
        raise ComixError("the features have numbers that are not finite")
    if not strengths or min(strengths) <= 0 or folds < 2:
        raise ComixError(f"needs strengths above 0 and at least 2 folds, not {tuple(strengths)} and {folds}")


def _in_their_span(features: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates [V, K] and a basis [K, D], features = coordinates · basis, K = min(V, D).

    A penalised fit is a sum of the videos' features, and the penalty does not change under rotation: with fewer videos
    than features the same model is found among fewer numbers.
    """
    n_videos, dim = features.shape
    if n_videos >= dim:
        return features.contiguous(), torch.eye(dim, dtype=torch.float64)
    basis, coordinates = torch.linalg.qr(features.T)
    return coordinates.T.contiguous(), basis.T


def _chosen(rows: _Float64s, y: _Int64s, strengths: Sequence[float], folds: int, seed: int) -> float:
    """The strength, of rising ones, with the most videos right when they are left out."""
    from sklearn.model_selection import StratifiedKFold  # takes a second, and most commands fit nothing

    sizes = np.bincount(y)
    alone = np.flatnonzero(sizes[y] == 1)
    several = np.flatnonzero(sizes[y] > 1)
    if not len(several):
        return strengths[0]
    n_folds = min(folds, int(sizes[sizes > 1].min()))
    split = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(several, y[several])
    right = np.zeros(len(strengths), np.int64)
    for train_on, left_out in split:
        known, asked = np.concatenate([several[train_on], alone]), several[left_out]
        for number, (weight, bias) in enumerate(_path(rows[known], y[known], strengths)):
            right[number] += int(((rows[asked] @ weight.T + bias).argmax(axis=1) == y[asked]).sum())
    return strengths[int(right.argmax())]


def _path(rows: _Float64s, y: _Int64s, strengths: Sequence[float]) -> list[tuple[_Float64s, _Float64s]]:
    """Weights [C, K] and biases [C] for every strength, each fit begun where the one before ended.

    y: [V], every class of 0 … C − 1 present, C ≥ 2. Raises ComixError if a fit does not end.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(tol=_TOLERANCE, max_iter=_MOST_STEPS, warm_start=True)
    found = []
    for strength in strengths:
        model.C = strength
        with warnings.catch_warnings():
            # Also given where no step can be found that is shorter than rounding: that is an end, and a good one.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows, y)
        if int(model.n_iter_.max()) >= _MOST_STEPS:
            raise ComixError(
                f"logistic regression found no end in {_MOST_STEPS:,} steps at C = {strength}",
                hint="standardise the features, or penalise more: a smaller C",
            )
        weight, bias = model.coef_.copy(), model.intercept_.copy()
        if len(weight) == 1:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        found.append((weight, bias))
    return found

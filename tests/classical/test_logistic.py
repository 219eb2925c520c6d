"""Logistic regression: against plain gradient descent, and what chooses its strength."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from comix_fast.classical import ABSENT, LinearModel, fit_logistic
from comix_fast.errors import ComixError, ShapeError


def by_gradient_descent(features: Tensor, labels: Tensor, n_classes: int, strength: float) -> tuple[Tensor, Tensor]:
    """Minimises Σ cross-entropy + |W|² / (2C) with small steps, softmax and its gradient written out."""
    weight, bias = torch.zeros(n_classes, features.shape[1]).double(), torch.zeros(n_classes).double()
    truth = torch.eye(n_classes).double()[labels]
    for _ in range(20_000):
        powers = (features @ weight.T + bias).exp()
        error = powers / powers.sum(dim=1, keepdim=True) - truth
        weight = weight - 0.02 * (error.T @ features + weight / strength)
        bias = bias - 0.02 * error.sum(dim=0)
    return weight, bias


def drawn(rng: np.random.Generator, sizes: list[int], dim: int, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """Videos of classes that lie about centres of their own."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.normal(size=(len(sizes), dim))
    return torch.from_numpy(centres[labels] + noise * rng.normal(size=(len(labels), dim))), torch.from_numpy(labels)


# More videos than features and fewer: the latter is fitted in the span of the videos.
@pytest.mark.parametrize(("sizes", "dim"), [([6, 4, 5], 3), ([4, 3, 3], 12)])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_the_model_is_the_one_gradient_descent_finds(
    rng: np.random.Generator, sizes: list[int], dim: int, strength: float
) -> None:
    features, labels = drawn(rng, sizes, dim)
    model = fit_logistic(features, labels, 3, strengths=[strength])
    weight, bias = by_gradient_descent(features, labels, 3, strength)
    assert model.penalty == strength
    assert model.weight.dtype == model.bias.dtype == torch.float64
    torch.testing.assert_close(model.weight, weight, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(model.bias - model.bias.mean(), bias - bias.mean(), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(model.logits(features), features @ model.weight.T + model.bias)


@pytest.mark.parametrize("dim", [2, 9])
def test_of_two_classes_each_gets_half_the_log_odds(rng: np.random.Generator, dim: int) -> None:
    features, labels = drawn(rng, [4, 3], dim)
    model = fit_logistic(features, labels, 2, strengths=[0.5])
    w, b = torch.zeros(dim).double(), torch.zeros(()).double()
    for _ in range(20_000):
        error = torch.sigmoid(features @ w + b) - labels
        w, b = w - 0.02 * (features.T @ error + w / 0.5), b - 0.02 * error.sum()
    expected = torch.stack([-(features @ w + b), features @ w + b], dim=1) / 2
    torch.testing.assert_close(model.logits(features), expected, atol=2e-5, rtol=1e-4)


def test_the_strength_is_the_one_that_is_most_often_right(rng: np.random.Generator) -> None:
    features, labels = drawn(rng, [9, 12, 9], 6, noise=4.0)
    strengths, chosen = (0.001, 0.01, 0.1, 1.0), []
    for seed in range(6):
        folds = StratifiedKFold(3, shuffle=True, random_state=seed)
        models = (LogisticRegression(C=strength, tol=1e-8, max_iter=10_000) for strength in strengths)
        right = [int((cross_val_predict(m, features, labels, cv=folds) == labels.numpy()).sum()) for m in models]
        chosen.append(strengths[right.index(max(right))])
        model = fit_logistic(features, labels, 3, strengths=strengths[::-1], folds=3, seed=seed)
        assert model.penalty == chosen[-1]
    assert len(set(chosen)) > 1


def test_of_equally_good_strengths_the_smaller_is_taken(rng: np.random.Generator) -> None:
    features, labels = drawn(rng, [6, 6, 6], 5, noise=0.01)
    assert fit_logistic(features, labels, 3, strengths=[10.0, 0.1, 1.0]).penalty == 0.1


def test_noise_asks_for_a_small_strength_and_fine_detail_for_a_large_one(rng: np.random.Generator) -> None:
    strengths = (1e-4, 1e3)
    labels = torch.arange(2).repeat(40)
    noisy = torch.from_numpy(rng.normal(size=(80, 40)))
    noisy[:, 0] += 2.0 * (2 * labels - 1)
    assert fit_logistic(noisy, labels, 2, strengths=strengths).penalty == 1e-4
    fine = torch.from_numpy(rng.normal(size=(80, 2)))
    fine[:, 1] = fine[:, 0] + 0.05 * (2 * labels - 1)
    assert fit_logistic(fine, labels, 2, strengths=strengths).penalty == 1e3


def test_a_fit_is_repeated_to_the_bit(rng: np.random.Generator) -> None:
    features, labels = drawn(rng, [5, 8, 6], 30, noise=3.0)
    one, other = (fit_logistic(features, labels, 3, seed=4) for _ in range(2))
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)
    assert one.penalty == other.penalty


@pytest.mark.parametrize("sizes", [[1, 7, 8], [1, 1, 2], [2, 9, 9], [1, 1, 1]])
def test_small_classes_do_not_stop_it(rng: np.random.Generator, sizes: list[int]) -> None:
    features, labels = drawn(rng, sizes, 6, noise=0.1)
    model = fit_logistic(features, labels, 3, strengths=(0.01, 1.0))
    assert model.logits(features).isfinite().all()
    assert (
        fit_logistic(features, labels, 3, strengths=[10.0]).logits(features).argmax(dim=1).tolist() == labels.tolist()
    )
    if max(sizes) == 1:
        assert model.penalty == 0.01


def test_classes_without_a_video_are_never_said(rng: np.random.Generator) -> None:
    features, labels = drawn(rng, [5, 4, 6], 4)
    spread = torch.tensor([1, 3, 4])[labels]
    model, dense = fit_logistic(features, spread, 6), fit_logistic(features, labels, 3)
    logits = model.logits(100 * features)
    assert logits.shape == (15, 6)
    assert torch.equal(logits[:, [1, 3, 4]], dense.logits(100 * features))
    assert (logits[:, [0, 2, 5]] == ABSENT).all()
    assert (logits.float().softmax(dim=1)[:, [0, 2, 5]] == 0).all()
    entropy = -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)
    assert entropy.isfinite().all()


def test_of_one_class_there_is_nothing_to_fit(rng: np.random.Generator) -> None:
    model = fit_logistic(torch.from_numpy(rng.normal(size=(4, 3))), torch.full((4,), 1), 3)
    assert model.logits(torch.ones(2, 3)).tolist() == [[ABSENT, 0, ABSENT]] * 2


def test_what_can_not_be_fitted_is_refused() -> None:
    features, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ShapeError, match=r"not \[4, 3\] and \[3\]"):
        fit_logistic(features, labels[:3], 2)
    with pytest.raises(ShapeError):
        fit_logistic(features[:0], labels[:0], 2)
    for wrong in (labels - 1, labels + 1):
        with pytest.raises(ComixError, match=r"labels must be in \[0, 2\)"):
            fit_logistic(features, wrong, 2)
    with pytest.raises(ComixError, match="not finite"):
        fit_logistic(features.log(), labels, 2)
    for change in ({"strengths": ()}, {"strengths": (0.0, 1.0)}, {"folds": 1}):
        with pytest.raises(ComixError, match="strengths above 0 and at least 2 folds"):
            fit_logistic(features, labels, 2, **change)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"features \[V, 3\], not \[4, 2\]"):
        LinearModel(torch.zeros(2, 3), torch.zeros(2), 1.0).logits(features[:, :2])


def test_a_fit_without_an_end_says_so(rng: np.random.Generator) -> None:
    """By the limit as it is: the search has one of its own, on evaluations, and must not end there unnoticed."""
    features, labels = drawn(rng, [20, 20, 20], 40, noise=10.0)
    with pytest.raises(ComixError, match="found no end in 7,000 steps at C = 1"):
        fit_logistic(features * torch.logspace(0, 3, 40), labels, 3, strengths=(1.0,))


def test_features_of_any_size_warn_of_nothing(rng: np.random.Generator) -> None:
    """Warnings are errors here: a search that ends at the last bits of huge or tiny features is not one."""
    features, labels = drawn(rng, [6, 6, 6], 20)
    for size in (1e-9, 1e-3, 1e2, 1e4):
        assert fit_logistic(size * features, labels, 3).logits(size * features).isfinite().all()


def test_scikit_learn_is_loaded_when_something_is_fitted() -> None:
    code = "import sys, comix_fast.stages.baselines; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""DEV: the risk by plain loops, its domain classifier against scikit-learn, and what it must prefer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from comix_fast.selection import Evidence, Labelled
from comix_fast.selection.embedded_validation import (
    STRENGTHS,
    _domain_classifier,
    _fit,
    deep_embedded_validation,
    density_ratio,
    weighted_risk,
)


def risk_by_loops(weights: list[float], losses: list[float]) -> float:
    n = len(weights)
    products = [w * loss for w, loss in zip(weights, losses, strict=True)]
    mean_w, mean_p = sum(weights) / n, sum(products) / n
    cov = sum((p - mean_p) * (w - mean_w) for p, w in zip(products, weights, strict=True)) / (n - 1)
    var = sum((w - mean_w) ** 2 for w in weights) / (n - 1)
    eta = -cov / var
    return mean_p + eta * mean_w - eta


def test_risk_by_plain_loops() -> None:
    weights, losses = [0.2, 1.5, 0.7, 3.0, 0.1], [1.0, 0.0, 0.0, 1.0, 1.0]
    expected = risk_by_loops(weights, losses)
    assert weighted_risk(np.array(weights), np.array(losses)) == pytest.approx(expected, abs=1e-12)


def test_the_control_variate_takes_out_the_scale_of_the_weights() -> None:
    """Where every loss is 1, the risk is 1 whatever the weights' mean."""
    assert weighted_risk(np.array([0.5, 3.0, 7.0]), np.ones(3)) == pytest.approx(1)
    assert weighted_risk(np.array([0.5, 3.0, 7.0]), np.zeros(3)) == 0


def test_equal_weights_and_one_video_have_no_control_variate() -> None:
    assert weighted_risk(np.full(4, 0.3), np.array([1.0, 0, 0, 0])) == pytest.approx(0.075)
    nearly = np.full(4, 0.3) + np.array([0, 1, -1, 0]) * 1e-17
    assert weighted_risk(nearly, np.array([1.0, 0, 0, 0])) == pytest.approx(0.075)
    assert weighted_risk(np.array([2.0]), np.array([1.0])) == 2


@pytest.mark.parametrize("columns", [3, 50])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_domain_classifier_is_the_one_scikit_learn_finds(
    rng: np.random.Generator, columns: int, strength: float
) -> None:
    rows = rng.normal(size=(24, columns))
    sides = np.where(rows[:, 0] + rng.normal(size=24) > 0, 1.0, -1.0)
    found = _fit(np.column_stack([rows, np.ones(24)]), sides, strength, np.zeros(columns + 1))
    other = LogisticRegression(C=1 / (24 * strength), tol=1e-12, max_iter=10_000).fit(rows, sides)
    np.testing.assert_allclose(found, [*other.coef_[0], other.intercept_[0]], atol=1e-5)


def test_the_ratio_is_that_of_two_bells() -> None:
    """Source N(0, 1), target N(1, 1): the ratio at x is e^(x − ½)."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(4000, 1)), 1 + rng.normal(size=(2000, 1))
    at = np.array([[-1.0], [0.0], [0.5], [1.0], [2.0]])
    np.testing.assert_allclose(np.log(density_ratio(source, target, at)), at[:, 0] - 0.5, atol=0.12)


def test_the_ratio_is_one_where_nothing_tells_the_domains_apart(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(12, 5))
    np.testing.assert_allclose(density_ratio(rows, rows, rows), 1, atol=1e-6)
    alike = np.full((12, 5), 0.1)
    np.testing.assert_allclose(density_ratio(alike, alike[:4], alike), 1, atol=1e-5)
    assert np.isfinite(density_ratio(rows, rows + 1e6, 1e12 * rows)).all()


def test_a_difference_of_chance_is_answered_with_the_strongest_penalty() -> None:
    rng = np.random.default_rng(1)
    sides = np.repeat([-1.0, 1.0], 40)
    noise = np.column_stack([rng.normal(size=(80, 60)), np.ones(80)])
    clear = noise.copy()
    clear[:, 0] += 6 * sides
    few = noise[36:44], sides[36:44]

    def fitted(design: np.ndarray, sides: np.ndarray, strength: float) -> np.ndarray:
        return _fit(design, sides, strength, np.zeros(61))

    strongest, *_, weakest = STRENGTHS
    np.testing.assert_allclose(_domain_classifier(noise, sides), fitted(noise, sides, strongest), atol=1e-6)
    np.testing.assert_allclose(_domain_classifier(clear, sides), fitted(clear, sides, weakest), atol=1e-6)
    np.testing.assert_allclose(_domain_classifier(*few), fitted(*few, strongest), atol=1e-6, err_msg="none held out")


def test_few_rows_of_many_columns_are_fitted_as_they_would_be_in_full(rng: np.random.Generator) -> None:
    """Twelve rows of fifty columns are solved in twelve coordinates; scikit-learn solves them in fifty."""
    source, target, asked = rng.normal(size=(8, 50)), 1 + rng.normal(size=(4, 50)), rng.normal(size=(3, 50))
    rows = np.concatenate([source, target])
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    other = LogisticRegression(C=1 / (12 * STRENGTHS[0]), tol=1e-12, max_iter=10_000)
    other.fit((rows - centre) / scale, [0] * 8 + [1] * 4)
    odds = other.predict_proba((asked - centre) / scale)
    np.testing.assert_allclose(density_ratio(source, target, asked), odds[:, 1] / odds[:, 0] * 8 / 4, rtol=1e-4)


def evidence(wrong_near_target: bool) -> Evidence:
    """Source spread over [-2, 2], target near 1; the model is wrong on one side, a quarter of the source each way."""
    rng = np.random.default_rng(0)
    source, asked = rng.uniform(-2, 2, size=(200, 1)), rng.uniform(-2, 2, size=(200, 1))
    target = 1 + 0.5 * rng.normal(size=(200, 1))
    wrong = (asked[:, 0] > 1) if wrong_near_target else (asked[:, 0] < -1)
    labels = torch.zeros(200, dtype=torch.int64)
    called = torch.eye(2)[torch.as_tensor(wrong).long()]
    features = [torch.as_tensor(rows) for rows in (source, asked, target)]
    return Evidence(
        logits=torch.zeros(200, 2),
        features=features[2],
        source=Labelled(features[0], torch.zeros(200, 2), labels),
        held_out=Labelled(features[1], called, labels),
    )


def test_mistakes_near_the_target_cost_more() -> None:
    near, far = deep_embedded_validation(evidence(True)), deep_embedded_validation(evidence(False))
    assert near is not None and far is not None
    assert near < -0.35 < -0.15 < far
    assert far > near + 0.3


def test_right_on_all_is_nought_and_no_list_is_none() -> None:
    seen = evidence(True)
    assert seen.held_out is not None
    right = Labelled(seen.held_out.features, torch.eye(2)[[0] * 200], seen.held_out.labels)
    assert deep_embedded_validation(Evidence(seen.logits, seen.features, seen.source, right)) == 0
    assert deep_embedded_validation(Evidence(seen.logits, seen.features, seen.source)) is None
    assert deep_embedded_validation(Evidence(seen.logits, seen.features, held_out=right)) is None


def test_the_order_of_held_out_videos_does_not_matter_and_no_global_draw() -> None:
    seen = evidence(True)
    assert seen.held_out is not None
    state = np.random.get_state()[1].copy()
    before = deep_embedded_validation(seen)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    turned = Labelled(seen.held_out.features[order], seen.held_out.logits[order], seen.held_out.labels[order])
    after = deep_embedded_validation(Evidence(seen.logits, seen.features, seen.source, turned))
    assert before is not None and after == pytest.approx(before, abs=1e-9) and math.isfinite(before)
    assert (state == np.random.get_state()[1]).all()

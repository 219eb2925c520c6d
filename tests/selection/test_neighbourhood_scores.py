"""Soft neighbourhood density and the neighbours' vote, by plain loops and at their ends."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from comix_fast.selection import neighbourhood
from comix_fast.selection.neighbourhood import neighbour_agreement, soft_neighbourhood_density

GENERATOR = torch.Generator().manual_seed(3)
LOGITS = torch.randn(8, 3, generator=GENERATOR)
FEATURES = torch.randn(8, 4, generator=GENERATOR)
TWO_GROUPS = torch.tensor([[1.0, 0.05], [1.0, 0.1], [1.0, 0.0], [0.05, 1.0], [0.1, 1.0], [0.0, 1.0]])


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def density_by_loops(probabilities: list[list[float]], temperature: float) -> float:
    total = 0.0
    for i, one in enumerate(probabilities):
        powers = [math.exp(cosine(one, other) / temperature) for j, other in enumerate(probabilities) if j != i]
        shares = [power / sum(powers) for power in powers]
        total -= sum(share * math.log(share) for share in shares)
    return total / len(probabilities)


def agreement_by_loops(classes: list[int], features: list[list[float]], k: int) -> float:
    agree = 0
    for i, one in enumerate(features):
        others = sorted((j for j in range(len(features)) if j != i), key=lambda j: -cosine(one, features[j]))[:k]
        votes = Counter(classes[j] for j in others)
        most = max(votes.values())
        winner = next(classes[j] for j in others if votes[classes[j]] == most)
        agree += winner == classes[i]
    return agree / len(features)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_density_by_plain_loops(temperature: float) -> None:
    probabilities = torch.softmax(LOGITS.double(), dim=1).tolist()
    expected = density_by_loops(probabilities, temperature)
    assert soft_neighbourhood_density(LOGITS, temperature) == pytest.approx(expected, abs=1e-12)


def test_density_is_high_in_groups_and_low_when_scattered() -> None:
    grouped = soft_neighbourhood_density(60 * torch.eye(3)[[0, 0, 0, 1, 1, 1, 2, 2, 2]])
    scattered = soft_neighbourhood_density(LOGITS)
    collapsed = soft_neighbourhood_density(torch.zeros(9, 3))
    assert grouped is not None and scattered is not None
    assert grouped == pytest.approx(math.log(2), abs=1e-6), "two others of one's own kind"
    assert collapsed == pytest.approx(math.log(8)), "it is blind to collapse, as its page says"
    apart = soft_neighbourhood_density(torch.tensor([[60.0, 0, 0], [59, 60, 0], [0, 0, 60], [60, 0, 57]]))
    assert apart is not None and apart < grouped


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_agreement_by_plain_loops(k: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    logits, features = torch.randn(11, 3, generator=draws), torch.randn(11, 4, generator=draws)
    expected = agreement_by_loops(logits.argmax(dim=1).tolist(), features.double().tolist(), k)
    assert neighbour_agreement(logits, features, k) == pytest.approx(expected, abs=1e-12)


def test_on_equal_votes_the_nearest_decides() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.3]])
    near, far = torch.eye(2)[[0, 0, 1]], torch.eye(2)[[0, 1, 0]]
    # For the first video both others have one vote: the second is nearer.
    assert neighbour_agreement(near, features, 2) == pytest.approx(2 / 3)
    assert neighbour_agreement(far, features, 2) == 0


def test_agreement_at_its_ends() -> None:
    with_groups = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
    across = torch.eye(2)[[0, 1, 1, 0, 1, 1]]
    assert neighbour_agreement(with_groups, TWO_GROUPS, 2) == 1
    assert neighbour_agreement(across, TWO_GROUPS, 2) == 0, "no one's nearest is called what it is"
    assert neighbour_agreement(torch.eye(2)[[0] * 6], TWO_GROUPS, 2) == 1, "blind to collapse, as its page says"


def test_few_videos_and_equal_rows() -> None:
    assert soft_neighbourhood_density(torch.zeros(1, 3)) is None
    assert neighbour_agreement(torch.zeros(1, 3), torch.zeros(1, 2)) is None
    assert soft_neighbourhood_density(torch.zeros(2, 3)) == pytest.approx(0)
    assert neighbour_agreement(torch.zeros(2, 3), torch.zeros(2, 2)) == 1


def test_the_order_of_videos_does_not_matter() -> None:
    order = torch.randperm(8, generator=GENERATOR)
    assert soft_neighbourhood_density(LOGITS[order]) == pytest.approx(soft_neighbourhood_density(LOGITS), abs=1e-12)
    turned = neighbour_agreement(LOGITS[order], FEATURES[order])
    assert turned == pytest.approx(neighbour_agreement(LOGITS, FEATURES), abs=1e-12)


def test_a_long_list_is_stood_for_by_a_fixed_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    logits, features = torch.randn(40, 3, generator=draws), torch.randn(40, 4, generator=draws)
    whole = both(logits, features)
    monkeypatch.setattr(neighbourhood, "MOST_VIDEOS", 12)
    thin = both(logits, features)
    assert thin == both(logits, features) and thin != whole
    kept = neighbourhood.thinned(40, 12)
    assert len(kept.unique()) == 12
    assert thin == both(logits[kept], features[kept])


def both(logits: Tensor, features: Tensor) -> tuple[float | None, float | None]:
    return soft_neighbourhood_density(logits), neighbour_agreement(logits, features)

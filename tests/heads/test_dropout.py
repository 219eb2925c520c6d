"""Dropout factors: how many, how large, and decided by the generator alone."""

from __future__ import annotations

import math

import pytest
import torch

from comix_fast.heads import dropout_factors


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.75, 0.97])
def test_the_right_share_is_dropped_and_the_rest_makes_up_for_it(probability: float) -> None:
    count = 400 * 1000
    factors = dropout_factors((400, 1000), probability, seeded(1)).double()
    kept = round((1 - probability) * 2**16) / 2**16
    assert sorted(factors.unique().tolist()) == pytest.approx([0.0, 1 / kept], rel=1e-6)
    share = float((factors == 0).double().mean())
    assert abs(share - probability) < 5 * math.sqrt(probability * (1 - probability) / count)
    assert float(factors.mean()) == pytest.approx(1.0, abs=5 * math.sqrt(probability / (1 - probability) / count))


def test_neighbours_are_dropped_independently() -> None:
    dropped = (dropout_factors((2**18,), 0.5, seeded(2)) == 0).double() - 0.5
    # Four numbers come of one word: no place in it, and no pair of places, may lean.
    for place in range(4):
        assert abs(float(dropped[place::4].mean())) < 5 * 0.5 / math.sqrt(2**16)
    for apart in (1, 2, 3, 4):
        assert abs(float((dropped[apart:] * dropped[:-apart]).mean())) < 5 * 0.25 / math.sqrt(2**18)


def test_the_generator_decides() -> None:
    first = dropout_factors((3, 4, 5), 0.3, seeded(0))
    assert torch.equal(first, dropout_factors((3, 4, 5), 0.3, seeded(0)))
    assert not torch.equal(first, dropout_factors((3, 4, 5), 0.3, seeded(1)))
    generator = seeded(0)
    assert torch.equal(first, dropout_factors((3, 4, 5), 0.3, generator))
    assert not torch.equal(first, dropout_factors((3, 4, 5), 0.3, generator))
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    dropout_factors((3,), 0.3, seeded(0))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 1, 5), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_size_and_number_format(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    factors = dropout_factors(shape, 0.5, seeded(0), dtype)
    assert factors.shape == shape
    assert factors.dtype == dtype
    assert set(factors.flatten().tolist()) <= {0.0, 2.0}
    assert torch.equal(factors.float(), dropout_factors(shape, 0.5, seeded(0)))


def test_nothing_is_dropped_at_zero_and_something_kept_below_one() -> None:
    assert torch.equal(dropout_factors((5, 3), 0.0, seeded(0), torch.bfloat16), torch.ones(5, 3, dtype=torch.bfloat16))
    nearly_all = dropout_factors((2**20,), 0.999999, seeded(0))
    assert set(nearly_all.tolist()) == {0.0, float(2**16)}

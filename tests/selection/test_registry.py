"""All scores at once: complete, finite, repeatable, and better for better models."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from comix_fast.errors import ShapeError
from comix_fast.selection import SCORES, Evidence, Labelled, rank_correlation, scores

CLASSES, WIDTH = 4, 12
NAMES = ["entropy", "infomax", "snd", "bnm", "dev", "mixval", "transfer-score", "knn"]


def model(videos: int, separation: float, seed: int = 0) -> Evidence:
    """A nearest-centre head on clusters `separation` apart; the target is the source, moved a little."""
    draws = torch.Generator().manual_seed(seed)
    centres = separation * (torch.eye(CLASSES, WIDTH) - torch.eye(CLASSES, WIDTH).mean(dim=0))

    def domain(shift: float) -> tuple[Tensor, Tensor]:
        labels = torch.arange(videos) % CLASSES
        return centres[labels] + torch.randn(videos, WIDTH, generator=draws) + shift, labels

    def logits(features: Tensor) -> Tensor:
        return features @ centres.T

    source, held_out, (target, _) = domain(0), domain(0), domain(0.3)
    return Evidence(
        logits=logits(target),
        features=target,
        source=Labelled(source[0], logits(source[0]), source[1]),
        held_out=Labelled(held_out[0], logits(held_out[0]), held_out[1]),
        classifier=centres,
        mixed=lambda first, second, share: logits(share * target[first] + (1 - share) * target[second]),
    )


def test_names_titles_and_sources() -> None:
    assert list(SCORES) == NAMES
    for name, score in SCORES.items():
        assert score.name == name and score.title and "\n" not in score.source
    assert len({score.title for score in SCORES.values()}) == len(SCORES)


def test_none_is_where_the_evidence_lacks_it() -> None:
    full = model(20, 3.0)
    assert all(value is not None for value in scores(full).values())
    bare = scores(replace(full, held_out=None, classifier=None, mixed=None))
    assert [name for name, value in bare.items() if value is None] == ["dev", "mixval", "transfer-score"]
    assert scores(replace(full, source=None)) == scores(replace(full, held_out=None)) == scores(full) | {"dev": None}


def test_better_models_score_higher() -> None:
    """Every score agrees with the truth where clusters part from a heap to far apart."""
    steps = [0.2, 0.8, 1.6, 3.0, 6.0]
    rows = [scores(model(40, step)) for step in steps]
    for name in NAMES:
        # Below 1.6 all predictions are nearly uniform, hence alike: what the density is blind to.
        start = 2 if name == "snd" else 0
        ranked = rank_correlation([row[name] for row in rows[start:]], steps[start:])
        assert ranked is not None and ranked >= 0.7, name


@pytest.mark.parametrize("videos", [1, 2, 5, 10])
def test_few_videos(videos: int) -> None:
    for value in scores(model(videos, 2.0)).values():
        assert value is None or math.isfinite(value)


@pytest.mark.parametrize("kind", ["one class", "uniform", "equal rows", "zeros", "far apart"])
def test_extremes_are_finite(kind: str) -> None:
    full = model(12, 2.0)
    one_class = 50 * torch.eye(CLASSES)[[2] * 12]
    changed = {
        "one class": replace(full, logits=one_class),
        "uniform": replace(full, logits=torch.zeros(12, CLASSES)),
        "equal rows": replace(full, logits=full.logits[[0] * 12], features=full.features[[0] * 12]),
        "zeros": replace(full, features=torch.zeros(12, WIDTH), classifier=torch.zeros(CLASSES, WIDTH)),
        "far apart": replace(full, features=full.features + 1e8, logits=1e6 * full.logits),
    }[kind]
    values = scores(changed)
    assert all(value is not None and math.isfinite(value) for value in values.values()), values


@pytest.mark.parametrize("where", ["logits", "features", "source", "held_out"])
def test_a_diverged_model_has_no_score(where: str) -> None:
    full = model(12, 2.0)
    assert full.source is not None
    broken = torch.full((12, CLASSES), math.nan)
    changed = {
        "logits": replace(full, logits=broken),
        "features": replace(full, features=torch.full((12, WIDTH), math.inf)),
        "source": replace(full, source=replace(full.source, features=torch.full((12, WIDTH), math.inf))),
        "held_out": replace(full, held_out=replace(full.source, logits=broken)),
    }[where]
    assert scores(changed) == dict.fromkeys(NAMES)


def test_repeatable_without_touching_the_global_generator() -> None:
    full = model(25, 1.0)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = scores(full)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert scores(full) == first


def test_gradients_and_half_precision_are_taken_as_numbers() -> None:
    full = model(12, 2.0)
    tracked = replace(full, logits=full.logits.half().requires_grad_(), features=full.features.half().requires_grad_())
    plain = replace(full, logits=full.logits.half().double(), features=full.features.half().double())
    assert scores(tracked) == scores(plain)


def test_evidence_that_does_not_fit_is_refused() -> None:
    full = model(12, 2.0)
    assert full.source is not None
    with pytest.raises(ShapeError, match="12 rows of features but 11 of logits"):
        replace(full, logits=full.logits[:11])
    with pytest.raises(ShapeError, match="features must be two axes"):
        replace(full, features=full.features[:, 0])
    with pytest.raises(ShapeError, match="logits must be two axes of at least one"):
        replace(full, logits=full.logits[:0])
    with pytest.raises(ShapeError, match="source has 4 classes and 5 features"):
        replace(full, source=replace(full.source, features=full.source.features[:, :5]))
    with pytest.raises(ShapeError, match=r"classifier must be \[4, 12\], not \[12, 4\]"):
        replace(full, classifier=torch.zeros(12, 4))
    with pytest.raises(ShapeError, match="of the same videos"):
        replace(full.source, labels=full.source.labels[:3])


def spearman_by_loops(one: list[float], other: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]

    a, b = ranks(one), ranks(other)
    mean = (len(one) + 1) / 2
    product = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))


def test_rank_correlation_by_plain_loops() -> None:
    one, other = [0.3, 0.1, 0.1, 0.9, 0.5], [0.6, 0.7, 0.2, 0.8, 0.8]
    assert rank_correlation(one, other) == pytest.approx(spearman_by_loops(one, other), abs=1e-12)
    assert rank_correlation([1, 2, 3], [10, 20, 40]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [9, 8, -1]) == pytest.approx(-1)


def test_rank_correlation_where_there_is_none() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3], [0.5, 0.5, 0.5]) is None
    assert rank_correlation([], []) is None
    assert rank_correlation([1, None, 3], [1, 2, 3]) is None
    assert rank_correlation([1, None, 3, 4, math.nan], [1, 2, 5, 9, 1]) == pytest.approx(1)
    with pytest.raises(ShapeError, match="3 scores but 2 accuracies"):
        rank_correlation([1, 2, 3], [1, 2])

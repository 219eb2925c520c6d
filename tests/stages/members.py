"""Heads in training on made-up features, and what they reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from comix_fast.cache import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.heads import Head, TemporalGraph
from comix_fast.objectives import Comix
from comix_fast.stages.bank import Banks, Standardise, feature_norms, load_banks
from comix_fast.stages.batches import AdaptationDraws, SupervisedDraws
from comix_fast.stages.stack import Member, Progressed

WARMSTART, ADAPT = "warmstart", "adapt"


class Report(NamedTuple):
    """One report, its tensors copied."""

    iteration: int
    losses: dict[str, float]
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]


@dataclass
class Listener:
    """Keeps every report; `then` is called after each and may raise."""

    then: Callable[[Progressed], None] = lambda step: None
    reports: list[Report] = field(default_factory=list)

    def __call__(self, head: Head, optimiser: torch.optim.SGD, step: Progressed) -> None:
        assert not head.training
        weights = {name: value.clone() for name, value in head.state_dict().items()}
        momentum = {
            name: optimiser.state[parameter]["momentum_buffer"].clone()
            for name, parameter in head.named_parameters()
            if optimiser.state[parameter].get("momentum_buffer") is not None
        }
        self.reports.append(Report(step.iteration, dict(step.losses), weights, momentum))
        self.then(step)


class Gym:
    """The banks of a small cache, and members that train on them."""

    def __init__(self, cache: FeatureCache) -> None:
        self.banks: Banks = load_banks(cache, mixed=True)
        self.norms: tuple[Standardise, Standardise] = feature_norms(self.banks, "domain")

    def head(self, seed: int, hidden: int = 16, precision: str = "fp32", dropout: float = 0.1) -> TemporalGraph:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return TemporalGraph(self.banks.source.clips.dim, hidden, 3, dropout, precision)  # type: ignore[arg-type]

    def member(
        self,
        seed: int = 0,
        phase: str = ADAPT,
        iterations: int = 40,
        *,
        precision: str = "fp32",
        report_every: int | None = None,
        reported: Any = None,
        **changes: Any,
    ) -> Member:
        """A member whose head is decided by its seed. changes: of the recipe, or of the member itself."""
        own = {name: changes.pop(name) for name in ("head", "norms", "draws", "begin", "objective") if name in changes}
        recipe = AdaptRecipe(**({"batch_size": 6, "hidden_dim": 16} | changes))
        if phase != ADAPT:
            draws: Any = SupervisedDraws(self.banks.source, recipe.batch_size, seed, phase)
        else:
            mixing = recipe.mixing and recipe.lambda_bgm > 0
            draws = AdaptationDraws(self.banks, recipe.batch_size, seed, mixing)
            own.setdefault("objective", Comix(recipe.lambda_bgm > 0, recipe.lambda_tpl > 0, recipe.mixing))
        made = {
            "head": self.head(seed, recipe.hidden_dim, precision, recipe.dropout),
            "norms": self.norms,
            "draws": draws,
        }
        return Member(
            recipe=recipe,
            seed=seed,
            phase=phase,
            iterations=iterations,
            report_every=report_every or iterations,
            reported=Listener() if reported is None else reported,
            **(made | own),
        )


def last(member: Member) -> Report:
    """Its last report."""
    assert isinstance(member.reported, Listener)
    return member.reported.reports[-1]


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Between the weights of two heads."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)

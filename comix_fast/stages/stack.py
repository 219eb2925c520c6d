"""Heads that train together: one loop, one step, for a single head and for many side by side.

Small operations cost more to start than to do, so R heads of one shape, each with its own batches, weights and numbers,
go through the head and the losses as one batch. Every head is what it would have been alone, but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe
from comix_fast.errors import RunError
from comix_fast.heads import Dropped, Head, dropout_factors
from comix_fast.objectives import Batch, Objective, SourceOnly, Terms
from comix_fast.stages.bank import Standardise
from comix_fast.stages.batches import CHUNK, Draws
from comix_fast.stages.sampling import derived_seed, generator_for
from comix_fast.stages.stopping import Stop

_NUMBERS = (
    "lambda_bgm",
    "lambda_tpl",
    "lambda_teacher",
    "lambda_align",
    "pseudo_threshold",
    "temperature",
    "teacher_temperature",
    "teacher_momentum",
    "label_smoothing",
)
"""What heads side by side may each have their own of; objectives take them by these names."""
OF_OBJECTIVE = "objective."
"""Before the names of what an objective learns, where a head's parameters are kept beside it."""


class Progressed(NamedTuple):
    """A head after an iteration: how many are done, its loss terms since the last report, its objective.

    losses: the mean of each term at a report; their sums so far where it is only saved.
    """

    iteration: int
    losses: dict[str, float]
    objective: Objective | None = None


Reported = Callable[[Head, torch.optim.SGD, Progressed], None]


class Upstream(Protocol):
    """What computes the features that are drawn, where that is no cache."""

    def begin(self, iteration: int) -> None:
        """Called before an iteration's features are taken."""

    def learn(self, iteration: int, gradients: Sequence[Tensor]) -> None:
        """Called when the loss has been differentiated, before the head is updated: the features' gradients are there.

        gradients: the head's and the objective's own; they may be changed in place.
        """


@dataclass(frozen=True, eq=False)
class Member:
    """One head to train from iteration `begin` to `iterations` of a phase.

    head, objective: as they begin, not changed themselves; momentum: the optimiser's, by parameter, where it goes on.
    reported: called every report_every iterations and after the last with the head as it is then, in eval mode; if it
        raises RunError, this head alone is given up.
    saved: called between reports, every save_every iterations and when training is stopped, so that it can go on from
        that very iteration. sums: what it was last given as losses, where training goes on between two reports.
    upstream: what computes the features, and learns by the same loss; such a member trains alone, and its iterations
    are long enough for each to be heard of by `ticked`, which takes how many are done.
    """

    head: Head
    recipe: AdaptRecipe
    seed: int
    phase: str
    draws: Draws
    norms: tuple[Standardise, Standardise]
    iterations: int
    report_every: int
    reported: Reported
    begin: int = 0
    momentum: dict[str, Tensor] = field(default_factory=dict)
    objective: Objective = field(default_factory=SourceOnly)
    saved: Reported | None = None
    save_every: int | None = None
    sums: Mapping[str, float] = field(default_factory=dict)
    upstream: Upstream | None = None
    ticked: Callable[[int], None] | None = None

    @property
    def shape(self) -> tuple[Any, ...]:
        """What heads must have in common to train side by side."""
        modules = (self.head, self.objective)
        sizes = tuple(tuple(value.shape) for module in modules for value in module.state_dict().values())
        streams = tuple((id(stream.features), stream.domain) for stream in self.draws.streams)
        # Drawn, not the recipe's batch size: of a list that is shorter a batch is all of it.
        batches = tuple(tuple(rows.shape) for rows in self.draws.chunk(0).rows)
        kinds = tuple((type(module), module.kind) for module in modules)
        alone = id(self) if self.upstream is not None else None
        return sizes, kinds, streams, batches, (self.begin, self.iterations, self.report_every, self.save_every), alone


def trained(head: Head, objective: Objective) -> dict[str, torch.nn.Parameter]:
    """What an optimiser updates: the head's parameters by name, the objective's with OF_OBJECTIVE before theirs."""
    named = dict(head.named_parameters())
    named |= {OF_OBJECTIVE + name: value for name, value in objective.named_parameters()}
    return {name: value for name, value in named.items() if value.requires_grad}


def new_optimiser(head: Head, recipe: AdaptRecipe, objective: Objective | None = None) -> torch.optim.SGD:
    """SGD with momentum, as published; fused, since a plain update is a third of the step's time."""
    return torch.optim.SGD(
        trained(head, objective or SourceOnly()).values(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def cosine_lr(base: float, iteration: int, iterations: int) -> float:
    """From base to zero along half a cosine (published code)."""
    return base * (1 + math.cos(math.pi * iteration / iterations)) / 2


class Stack:
    """R members of one shape in training."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        heads, objectives = [member.head for member in members], [member.objective for member in members]
        self.heads = type(heads[0]).side_by_side(heads).train()
        self.objective = type(objectives[0]).side_by_side(objectives).train()
        self.single = [
            (self.heads.single(number), self.objective.single(number)) for number in range(len(self.members))
        ]
        self._trained = [list(trained(*single).values()) for single in self.single]
        self._optimisers = [
            new_optimiser(head, member.recipe, objective)
            for (head, objective), member in zip(self.single, members, strict=True)
        ]
        for single, optimiser, member in zip(self.single, self._optimisers, members, strict=True):
            for name, parameter in trained(*single).items():
                if name in member.momentum:
                    # Copied: the optimiser writes into it.
                    optimiser.state[parameter]["momentum_buffer"] = member.momentum[name].clone()
        self._device = self.heads.device
        self._drawn: tuple[int, list[Any]] = (-1, [])
        self._numbers = {name: self._number(name) for name in _NUMBERS}
        self._norms = [[member.norms[domain] for member in members] for domain in (0, 1)]

    def train(self, stop: Stop) -> list[tuple[Member, RunError]]:
        """All members to their last iteration; returns those that were given up, with the reason.

        Returns early, between two iterations, if `stop` is set; what is done by then is saved.
        """
        first = self.members[0]
        lost: dict[int, RunError] = {}
        sums = self._sums()
        for iteration in range(first.begin, first.iterations):
            if stop.is_set():
                if iteration > first.begin:
                    self._tell(iteration, sums, lost, is_report=False)
                break
            terms = {name: value.detach() for name, value in self.step(iteration).items()}
            sums = {name: sums[name] + value if name in sums else value for name, value in terms.items()}
            done = iteration + 1
            if first.upstream is not None and first.ticked is not None:
                first.ticked(done)
            if done % first.report_every == 0 or done == first.iterations:
                since = done % first.report_every or first.report_every
                self._tell(done, {name: value / since for name, value in sums.items()}, lost, is_report=True)
                sums = {}
                if len(lost) == len(self.members):
                    break
            elif first.save_every and done % first.save_every == 0:
                self._tell(done, sums, lost, is_report=False)
        return [(self.members[number], error) for number, error in lost.items()]

    def _sums(self) -> dict[str, Tensor]:
        """Of each loss term since the last report, [R]."""
        names = self.members[0].sums
        return {name: torch.tensor([m.sums[name] for m in self.members], device=self._device) for name in names}

    def step(self, iteration: int) -> Terms:
        """One update of every head; terms are [R]. No other iteration need have gone before, beside the weights."""
        upstream = self.members[0].upstream
        if upstream is not None:
            upstream.begin(iteration)
        batch = self._batch(iteration)
        terms: Terms = self.objective(self.heads, batch)
        # A head's loss depends on its own weights alone, so the sum's gradient is every head's own.
        terms["total"].sum().backward()  # type: ignore[no-untyped-call]
        joined = list(trained(self.heads, self.objective).values())
        if upstream is not None:
            upstream.learn(iteration, [parameter.grad for parameter in joined if parameter.grad is not None])
        for number, (mine, optimiser, member) in enumerate(
            zip(self._trained, self._optimisers, self.members, strict=True)
        ):
            for parameter, all_heads in zip(mine, joined, strict=True):
                parameter.grad = None if all_heads.grad is None else all_heads.grad[number]
            for group in optimiser.param_groups:
                group["lr"] = cosine_lr(member.recipe.lr, iteration, member.iterations)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        for parameter in joined:
            parameter.grad = None
        self.objective.after_step(self.heads, batch)
        return terms

    def _tell(self, done: int, terms: Mapping[str, Tensor], lost: dict[int, RunError], is_report: bool) -> None:
        """Every member that is not lost hears how far it has come; those whose report raises RunError are lost."""
        values = {name: value.tolist() for name, value in terms.items()}
        for number, ((head, objective), optimiser, member) in enumerate(
            zip(self.single, self._optimisers, self.members, strict=True)
        ):
            if number in lost:
                continue
            progressed = Progressed(done, {name: value[number] for name, value in values.items()}, objective)
            if not is_report:
                if member.saved is not None:
                    member.saved(head, optimiser, progressed)
                continue
            try:
                _require_finite(member, progressed)
                member.reported(head.eval(), optimiser, progressed)
            except RunError as error:
                lost[number] = error

    def _batch(self, iteration: int) -> Batch:
        rows, labels, slow = self._draw(iteration)
        streams = self.members[0].draws.streams
        given = [
            self._features(stream.features.take(index), stream.domain)
            for stream, index in zip(streams, rows, strict=True)
        ]
        source, target, source_mixed, target_mixed = [*given, None, None, None][:4]
        assert source is not None
        first = self.members[0]
        return Batch(
            source,
            target,
            source_mixed,
            target_mixed,
            labels,
            slow,
            progress=iteration / first.iterations,
            numbers=self._numbers,
            dropped=lambda what, n_videos: self._dropped(iteration, what, n_videos, rows[0].shape[2]),
            uniform=lambda what, shape: self._uniform(iteration, what, shape),
        )

    def _draw(self, iteration: int) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """This iteration's [R, b, B] rows of each stream, [R, b] labels, [R, B] clips of the slow view."""
        number, place = divmod(iteration, CHUNK)
        if self._drawn[0] != number:
            chunks = [member.draws.chunk(number) for member in self.members]
            rows = [self._joined([chunk.rows[part] for chunk in chunks]) for part in range(len(chunks[0].rows))]
            labels = self._joined([chunk.labels for chunk in chunks])
            slow = [chunk.slow for chunk in chunks if chunk.slow is not None]
            self._drawn = number, [rows, labels, self._joined(slow) if slow else None]
        rows, labels, masks = self._drawn[1]
        return [part[place] for part in rows], labels[place], None if masks is None else masks[place]

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts), dim=1).to(self._device, non_blocking=True)

    def _features(self, taken: Tensor, domain: int) -> Tensor:
        """[R, b, B, D] float16 rows -> standardised, in the number format that the heads compute in."""
        norms = self._norms[domain]
        if all(norm is norms[0] for norm in norms):
            values = norms[0](taken)
        else:
            values = torch.stack([norm(part) for norm, part in zip(norms, taken, strict=True)])
        return values.to(torch.bfloat16) if self.heads.precision == "bf16" else values

    def _dropped(self, iteration: int, what: str, n_videos: int, n_clips: int) -> Dropped:
        shape = self.heads.dropout_shape(n_videos, n_clips)
        if shape is None or not any(member.recipe.dropout for member in self.members):
            return None, None
        dtype = torch.bfloat16 if self.heads.precision == "bf16" else torch.float32
        # Heads of one seed, as in a grid, drop the same.
        keys = [(member.seed, member.phase, member.recipe.dropout) for member in self.members]
        drawn = {}
        for seed, phase, probability in set(keys):
            key = (seed, phase, "dropout", iteration, *([what] if what else []))
            generator = torch.Generator(self._device).manual_seed(derived_seed(*key))
            drawn[seed, phase, probability] = dropout_factors((2, *shape), probability, generator, dtype)
        return tuple(torch.stack([drawn[key] for key in keys], dim=1))

    def _uniform(self, iteration: int, what: str, shape: Sequence[int]) -> Tensor:
        """[R, *shape] in [0, 1); heads of one seed draw the same."""
        generators = [generator_for(member.seed, member.phase, what, iteration) for member in self.members]
        return torch.stack([torch.rand(*shape, generator=generator) for generator in generators]).to(self._device)

    def _number(self, name: str) -> float | Tensor:
        """A field of the recipes: one number if they agree, else [R]."""
        values = [float(getattr(member.recipe, name)) for member in self.members]
        if len(set(values)) == 1:
            return values[0]
        return torch.tensor(values, device=self._device)


def _require_finite(member: Member, step: Progressed) -> None:
    if not all(math.isfinite(value) for value in step.losses.values()):
        raise RunError(
            f"the loss is not finite after {step.iteration:,} iterations of {member.phase} (seed {member.seed}): "
            f"{step.losses}",
            hint="try a lower --lr or smaller λs, or --feature-norm domain",
        )

"""One seed of a run: its head as it begins or goes on, what is measured, logged and saved while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe, digest
from comix_fast.errors import RunError
from comix_fast.files import write_json
from comix_fast.heads import Head
from comix_fast.objectives import Objective, Setting, SourceOnly, new_objective
from comix_fast.stages import runs
from comix_fast.stages.bank import Banks, Standardise
from comix_fast.stages.checkpoints import KEPT, Checkpoints
from comix_fast.stages.measuring import Measured, measure, predict_logits
from comix_fast.stages.results import score_of
from comix_fast.stages.road import ADAPT, WARMSTART, Road
from comix_fast.stages.runs import RunFolder, SeedFolder
from comix_fast.stages.sampling import derived_seed
from comix_fast.stages.stack import OF_OBJECTIVE, Member, Progressed, trained

ENDS_AS = {WARMSTART: runs.SOURCE_ONLY, ADAPT: runs.LAST}
"""The head that a phase makes."""


@dataclass(frozen=True, eq=False)
class Task:
    """One run: what its seeds share.

    banks: what the supervised bound trains on and is measured on; None where there is none to be had.
    key: its identity, so that no checkpoint of another run is resumed. road: where its features come from.
    start: the head that the warm-start begins with; None: one that the seed draws. save_every: iterations between
    checkpoints, beside those at evaluations; keep: how many of them are kept.
    """

    recipe: AdaptRecipe
    banks: Banks | None
    norms: tuple[Standardise, Standardise]
    folder: RunFolder
    device: torch.device
    key: str
    road: Road
    start: Head | None = None
    save_every: int | None = None
    keep: int = KEPT


@dataclass(eq=False)
class Work:
    """One seed of a run. error: why it was given up."""

    task: Task
    seed: int
    error: RunError | None = None

    @property
    def files(self) -> SeedFolder:
        """Its folder."""
        return self.task.folder.seed(self.seed)

    @property
    def checkpoints(self) -> Checkpoints:
        """What it goes on from."""
        return Checkpoints(self.files.root, self.task.key, self.task.keep)

    def lacks(self, head: str) -> bool:
        """Whether a head is still to be made."""
        return self.error is None and not self.files.head_path(head).exists()

    @property
    def warmstart(self) -> tuple[Any, ...]:
        """What decides its warm-started head and the lines written on the way: works that agree share them."""
        return self.seed, digest(self.task.recipe.warmstart_json()), self.task.recipe.eval_every

    @property
    def kind(self) -> tuple[Any, ...]:
        """What heads that train side by side have in common; works are ordered by it."""
        recipe = self.task.recipe
        terms = (recipe.uses_mixes, recipe.lambda_bgm > 0, recipe.lambda_tpl > 0, recipe.lambda_teacher > 0)
        shape = (recipe.head, recipe.statistics, recipe.hidden_dim, recipe.batch_size, recipe.eval_every)
        return *shape, recipe.method, recipe.precision, *terms


def new_member(work: Work, phase: str, listener: Callable[[int], None]) -> Member:
    """A work as the stack trains it; measures, logs and saves on the way."""
    task, recipe, files, seed = work.task, work.task.recipe, work.files, work.seed
    iterations = n_iterations(work, phase)
    begun = _resume(work, phase)
    task.road.begin(files, phase, iterations, begun.upstream)
    objective = _objective(work, begun) if phase == ADAPT else SourceOnly()
    listener(begun.iteration)
    state = _Reported.after(begun.iteration, lines_of(files, phase), recipe.select_by)

    def advance(iteration: int) -> None:
        listener(iteration - state.iteration)
        state.iteration = iteration

    def reported(head: Head, optimiser: torch.optim.SGD, step: Progressed) -> None:
        found = measure(head, task.road.seen(), task.norms, recipe.pseudo_threshold)
        line = {"seed": seed, "phase": phase, "iteration": step.iteration, **step.losses, **found.line}
        if state.is_best_of_all(line["target_accuracy"]):
            write_oracle(files, line, found)
        files.add_metrics(line)
        if phase == ADAPT and state.is_best(score_of(line, recipe.select_by)):
            keep_head(work, head, runs.SELECTED)
        elif phase == ADAPT and step.iteration == iterations and not files.head_path(runs.SELECTED).exists():
            # No step has the score: the last one stands in, as in the results.
            keep_head(work, head, runs.SELECTED)
        _save_checkpoint(work, head, optimiser, phase, step._replace(losses={}))
        if step.iteration == iterations:
            keep_head(work, head, ENDS_AS[phase])
        advance(step.iteration)

    def saved(head: Head, optimiser: torch.optim.SGD, step: Progressed) -> None:
        _save_checkpoint(work, head, optimiser, phase, step)
        advance(step.iteration)

    return Member(
        head=begun.head.to(task.device),
        recipe=recipe,
        seed=seed,
        phase=phase,
        draws=task.road.draws(recipe, seed, phase),
        norms=task.norms,
        iterations=iterations,
        report_every=recipe.eval_every or iterations,
        reported=reported,
        begin=begun.iteration,
        momentum={name: value.to(task.device) for name, value in begun.momentum.items()},
        objective=objective.to(task.device),
        saved=saved,
        save_every=task.save_every,
        sums=begun.sums,
        upstream=task.road.upstream,
        ticked=advance,
    )


def keep_head(work: Work, head: Head, name: str) -> None:
    """A head and what belongs to it; the head last, since a head that is there is whole."""
    work.task.road.save(work.files, name)
    runs.save_tensors(work.files.head_path(name), head.state_dict())


def measure_start(work: Work, head: Head) -> None:
    """Measures and logs a head that another run has made where no warm-start follows: what adaptation begins with."""
    task, files = work.task, work.files
    if task.start is None or lines_of(files, WARMSTART):
        return
    found = measure(head, task.road.seen(), task.norms, task.recipe.pseudo_threshold)
    line = {"seed": work.seed, "phase": WARMSTART, "iteration": 0, **found.line}
    write_oracle(files, line, found)
    files.add_metrics(line)


@dataclass
class _Begun:
    """Where a head begins or goes on. upstream: what its road kept, None where it begins."""

    head: Head
    iteration: int = 0
    momentum: dict[str, Tensor] = field(default_factory=dict)
    objective: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    upstream: dict[str, Tensor] | None = None


@dataclass
class _Reported:
    """The last report of a head: its iteration, the best label-free score and the best accuracy so far."""

    iteration: int
    score: float = -math.inf
    accuracy: float = -math.inf

    @classmethod
    def after(cls, iteration: int, lines: Sequence[dict[str, Any]], select_by: str) -> _Reported:
        """As it stands when a phase goes on from `iteration`, its lines so far given."""
        state = cls(iteration)
        for line in lines:
            state.is_best(score_of(line, select_by))
            state.is_best_of_all(line["target_accuracy"])
        return state

    def is_best(self, score: float | None) -> bool:
        """Whether a label-free score beats all before it, which it then replaces."""
        if score is None:
            return False
        better, self.score = score > self.score, max(score, self.score)
        return better

    def is_best_of_all(self, accuracy: float | None) -> bool:
        """The same of the accuracy, which selects nothing but the oracle's step."""
        if accuracy is None:
            return False
        better, self.accuracy = accuracy > self.accuracy, max(accuracy, self.accuracy)
        return better


def write_oracle(files: SeedFolder, line: dict[str, Any], found: Measured) -> None:
    """Keeps what the phase's step with the best target accuracy predicts: tables say what peeking would have given."""
    kept = {"phase": line["phase"], "iteration": line["iteration"], "accuracy": line["target_accuracy"]}
    write_json(files.root / runs.oracle_file(line["phase"]), {**kept, "predicted": found.predicted.tolist()})


def _objective(work: Work, begun: _Begun) -> Objective:
    """The adaptation's objective, as it was when the head's checkpoint was made, else as it begins."""
    task, recipe, labels = work.task, work.task.recipe, work.task.road.source_labels

    def warmstarted() -> Head:
        return task.folder.load_head(work.seed, runs.SOURCE_ONLY)

    def logits() -> Tensor:
        # Few objectives ask for them; one that goes on has what it made of them among what it remembers.
        if begun.objective:
            return torch.zeros(1, head.n_classes)
        return predict_logits(warmstarted().to(task.device), task.road.seen().target, task.norms[1])

    head = warmstarted()
    prior = torch.bincount(labels, minlength=head.n_classes).float() / len(labels)
    setting = Setting(head, prior, logits, work.seed)
    objective = new_objective(recipe, setting)
    if begun.objective:
        objective.load_state_dict(begun.objective)
    return objective


def _save_checkpoint(work: Work, head: Head, optimiser: torch.optim.SGD, phase: str, step: Progressed) -> None:
    """step.losses: sums since the last report."""
    objective = step.objective or SourceOnly()
    tensors = {f"head.{name}": value for name, value in head.state_dict().items()}
    tensors |= {OF_OBJECTIVE + name: value for name, value in objective.state_dict().items()}
    for name, parameter in trained(head, objective).items():
        if (buffer := optimiser.state[parameter].get("momentum_buffer")) is not None:
            tensors[f"momentum.{name}"] = buffer
    tensors |= {f"sums.{name}": torch.tensor(value, dtype=torch.float64) for name, value in step.losses.items()}
    tensors |= {f"upstream.{name}": value for name, value in work.task.road.kept().items()}
    work.checkpoints.save(phase, step.iteration, tensors)


def _resume(work: Work, phase: str) -> _Begun:
    """Where the phase's checkpoint left off, else how it begins. Later metrics are dropped."""
    task, files = work.task, work.files
    found = work.checkpoints.latest(phase)
    done = 0 if found is None else found.iteration
    files.keep_metrics([line for line in files.metrics() if line["phase"] != phase or line["iteration"] <= done])
    if found is not None:
        head, tensors = task.folder.new_head().load_published(_below(found.tensors, "head.")), found.tensors
        sums = {name: float(value) for name, value in _below(tensors, "sums.").items()}
        momentum, objective = _below(tensors, "momentum."), _below(tensors, OF_OBJECTIVE)
        return _Begun(head, done, momentum, objective, sums, _below(tensors, "upstream."))
    if phase == ADAPT:
        return _Begun(task.folder.load_head(work.seed, runs.SOURCE_ONLY))
    if task.start is None:
        return _Begun(seeded_head(work))
    # Its weights alone: dropout and precision are this run's, as they will be when it goes on from a checkpoint.
    return _Begun(task.folder.new_head().load_published(task.start.state_dict()))


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def seeded_head(work: Work) -> Head:
    """A head initialised by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(work.seed, "head"))
        return work.task.folder.new_head()


def lines_of(files: SeedFolder, phase: str) -> list[dict[str, Any]]:
    return [line for line in files.metrics() if line["phase"] == phase]


def n_iterations(work: Work, phase: str) -> int:
    recipe = work.task.recipe
    return (recipe.warmstart_iterations if phase == WARMSTART else recipe.iterations) or 0

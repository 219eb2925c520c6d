"""One seed of a run: its phases, from checkpoint to head, beside those of other seeds and runs."""

from __future__ import annotations

import csv
import math
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from comix_fast.config import AdaptRecipe, digest
from comix_fast.console import Advance, Reporter
from comix_fast.errors import RunError
from comix_fast.files import whole_file, write_json
from comix_fast.heads import Head
from comix_fast.objectives import Objective, Setting, SourceOnly, new_objective
from comix_fast.stages import runs
from comix_fast.stages.bank import Banks, Standardise
from comix_fast.stages.batches import AdaptationDraws, SupervisedDraws
from comix_fast.stages.measuring import Measured, measure, predict_logits
from comix_fast.stages.results import score_of
from comix_fast.stages.runs import RunFolder, SeedFolder
from comix_fast.stages.sampling import derived_seed
from comix_fast.stages.stack import OF_OBJECTIVE, Member, Progressed, trained
from comix_fast.stages.supervised import Bound, bounds
from comix_fast.stages.together import train_together

WARMSTART, ADAPT, SUPERVISED = "warmstart", "adapt", "supervised"
_ENDS_AS = {WARMSTART: runs.SOURCE_ONLY, ADAPT: runs.LAST}
HEADS_AT_ONCE = 64
"""Heads in memory at once, some 30 MB each with what training adds; a grid may have thousands."""


@dataclass(frozen=True, eq=False)
class Task:
    """One run: what its seeds share. key: its identity, so that no checkpoint of another run is resumed."""

    recipe: AdaptRecipe
    banks: Banks
    norms: tuple[Standardise, Standardise]
    folder: RunFolder
    device: torch.device
    key: str


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


def train_all(works: Sequence[Work], reporter: Reporter) -> None:
    """Both phases of every work, what each predicts, and the bounds; finished parts are not redone.

    Works that warm-start alike do so once. A work whose loss is not finite is given up, its `error` set.
    """
    heads = [work for work in works if work.task.recipe.method != "target-supervised"]
    firsts: dict[tuple[Any, ...], Work] = {}
    for work in heads:
        firsts.setdefault(work.warmstart, work)
    _phase(list(firsts.values()), WARMSTART, reporter)
    for work in heads:
        first = firsts[work.warmstart]
        work.error = first.error
        if work.lacks(runs.SOURCE_ONLY):
            _take_warmstart(work.files, first.files)
    adapted = [work for work in heads if work.task.recipe.adapts]
    _phase(adapted, ADAPT, reporter)
    for work in heads:
        if work.error is None:
            _write_predictions(work)
            (work.files.root / runs.CHECKPOINT).unlink(missing_ok=True)
    _bounds([work for work in works if work.task.recipe.method == "target-supervised"], reporter)


def _phase(all_works: Sequence[Work], phase: str, reporter: Reporter) -> None:
    """Trains one phase of the works that lack its head, each from its checkpoint if there is one."""
    works = [work for work in all_works if work.lacks(_ENDS_AS[phase])]
    if not works:
        return
    what = f"seed {works[0].seed}" if len(works) == 1 else f"{len(works)} heads"
    name = "warm-start" if phase == WARMSTART else "adaptation"
    with reporter.progress(f"{what}: {name}", sum(_length(work, phase) for work in works), "iterations") as advance:
        listener = _Listener(advance)
        in_order = sorted(works, key=lambda work: (_length(work, phase), work.kind))
        for first in range(0, len(works), HEADS_AT_ONCE):
            _train_some(in_order[first : first + HEADS_AT_ONCE], phase, listener, len(all_works))


def _length(work: Work, phase: str) -> int:
    recipe = work.task.recipe
    return (recipe.warmstart_iterations if phase == WARMSTART else recipe.iterations) or 0


def _train_some(works: Sequence[Work], phase: str, listener: _Listener, of_heads: int) -> None:
    of = {_member(work, phase, listener): work for work in works}
    for member, work in of.items():
        if member.begin >= member.iterations:
            # None asked for, or stopped between the last checkpoint and the head.
            runs.save_tensors(work.files.head_path(_ENDS_AS[phase]), member.head.state_dict())
    lasting = [member for member in of if member.begin < member.iterations]
    for member, error in train_together(lasting, of_heads):
        of[member].error = error


class _Listener:
    """Passes progress on from whichever thread it comes."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._lock = advance, threading.Lock()

    def __call__(self, done: int) -> None:
        with self._lock:
            self._advance(done)


def _member(work: Work, phase: str, listener: _Listener) -> Member:
    """A work as the stack trains it; measures, logs and saves on the way."""
    task, recipe, files, seed = work.task, work.task.recipe, work.files, work.seed
    iterations = _length(work, phase)
    begun = _resume(work, phase)
    if begun is None:
        head = _seeded_head(work) if phase == WARMSTART else task.folder.load_head(seed, runs.SOURCE_ONLY)
        begun = _Begun(head)
    objective = _objective(work, begun) if phase == ADAPT else SourceOnly()
    banks = task.banks
    draws = (
        SupervisedDraws(banks.source, recipe.batch_size, seed, phase)
        if phase == WARMSTART
        else AdaptationDraws(banks, recipe.batch_size, seed, recipe.uses_mixes)
    )
    listener(begun.iteration)
    state = _Reported.after(begun.iteration, _lines(files, phase), recipe.select_by)

    def reported(head: Head, optimiser: torch.optim.SGD, step: Progressed) -> None:
        found = measure(head, task.banks, task.norms)
        line = {"seed": seed, "phase": phase, "iteration": step.iteration, **step.losses, **found.line}
        if state.is_best_of_all(line["target_accuracy"]):
            write_oracle(files, line, found)
        files.add_metrics(line)
        if phase == ADAPT and state.is_best(score_of(line, recipe.select_by)):
            runs.save_tensors(files.head_path(runs.SELECTED), head.state_dict())
        elif phase == ADAPT and step.iteration == iterations and not files.head_path(runs.SELECTED).exists():
            # No step has the score: the last one stands in, as in the results.
            runs.save_tensors(files.head_path(runs.SELECTED), head.state_dict())
        _save_checkpoint(work, head, optimiser, phase, step)
        if step.iteration == iterations:
            runs.save_tensors(files.head_path(_ENDS_AS[phase]), head.state_dict())
        listener(step.iteration - state.iteration)
        state.iteration = step.iteration

    return Member(
        head=begun.head.to(task.device),
        recipe=recipe,
        seed=seed,
        phase=phase,
        draws=draws,
        norms=task.norms,
        iterations=iterations,
        report_every=recipe.eval_every or iterations,
        reported=reported,
        begin=begun.iteration,
        momentum={name: value.to(task.device) for name, value in begun.momentum.items()},
        objective=objective.to(task.device),
    )


@dataclass
class _Begun:
    """Where a head goes on."""

    head: Head
    iteration: int = 0
    momentum: dict[str, Tensor] = field(default_factory=dict)
    objective: dict[str, Tensor] = field(default_factory=dict)


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
    task, recipe, labels = work.task, work.task.recipe, work.task.banks.source.labels

    def warmstarted() -> Head:
        return task.folder.load_head(work.seed, runs.SOURCE_ONLY)

    def logits() -> Tensor:
        # Few objectives ask for them.
        return predict_logits(warmstarted().to(task.device), task.banks.target, task.norms[1])

    head = warmstarted()
    prior = torch.bincount(labels, minlength=head.n_classes).float() / len(labels)
    setting = Setting(head, prior, logits, work.seed)
    objective = new_objective(recipe, setting)
    if begun.objective:
        objective.load_state_dict(begun.objective)
    return objective


def _lines(files: SeedFolder, phase: str) -> list[dict[str, Any]]:
    return [line for line in files.metrics() if line["phase"] == phase]


def _seeded_head(work: Work) -> Head:
    """A head initialised by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(work.seed, "head"))
        return work.task.folder.new_head()


def _save_checkpoint(work: Work, head: Head, optimiser: torch.optim.SGD, phase: str, step: Progressed) -> None:
    objective = step.objective or SourceOnly()
    tensors = {f"head.{name}": value for name, value in head.state_dict().items()}
    tensors |= {OF_OBJECTIVE + name: value for name, value in objective.state_dict().items()}
    for name, parameter in trained(head, objective).items():
        if (buffer := optimiser.state[parameter].get("momentum_buffer")) is not None:
            tensors[f"momentum.{name}"] = buffer
    metadata = {"phase": phase, "iteration": str(step.iteration), "run": work.task.key}
    runs.save_tensors(work.files.root / runs.CHECKPOINT, tensors, metadata)


def _resume(work: Work, phase: str) -> _Begun | None:
    """Where the phase's checkpoint left off, None if there is none. Later metrics are dropped."""
    files, begun = work.files, None
    path = files.root / runs.CHECKPOINT
    if path.exists():
        tensors, metadata = runs.load_tensors(path)
        if metadata.get("run") != work.task.key:
            raise RunError(f"{path} belongs to another run", hint="delete it and adapt again")
        if metadata["phase"] == phase:
            head = work.task.folder.new_head().load_published(_below(tensors, "head."))
            momentum, objective = _below(tensors, "momentum."), _below(tensors, OF_OBJECTIVE)
            begun = _Begun(head, int(metadata["iteration"]), momentum, objective)
    done = 0 if begun is None else begun.iteration
    kept = [line for line in files.metrics() if line["phase"] != phase or line["iteration"] <= done]
    files.keep_metrics(kept)
    return begun


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _take_warmstart(files: SeedFolder, donor: SeedFolder) -> None:
    files.keep_metrics(_lines(donor, WARMSTART))
    for path in (donor.root / runs.oracle_file(WARMSTART), donor.head_path(runs.SOURCE_ONLY)):
        if path.exists():
            with whole_file(files.root / path.name) as partial:
                shutil.copyfile(path, partial)


def _bounds(works: Sequence[Work], reporter: Reporter) -> None:
    """The target-supervised bound: the one method that trains on target labels, and says so."""
    missing = [work for work in works if not _lines(work.files, SUPERVISED)]
    if not missing:
        return
    wanted = [Bound(w.task.recipe, w.task.banks, w.task.norms, w.seed, _seeded_head(w)) for w in missing]
    total = sum(bound.n_heads for bound in wanted)
    of_heads = wanted[0].n_heads * len(works)
    with reporter.progress("target-supervised bound", total, "heads") as advance:
        for work, value in zip(missing, bounds(wanted, _Listener(advance), of_heads), strict=True):
            if isinstance(value, RunError):
                work.error = value
                continue
            line = {"seed": work.seed, "phase": SUPERVISED, "iteration": work.task.recipe.warmstart_iterations}
            _write_table(work, {runs.LAST: value.predicted.tolist()})
            work.files.keep_metrics([{**line, "target_accuracy": value.accuracy}])


def _write_predictions(work: Work) -> None:
    task, columns = work.task, {}
    for name in (runs.SOURCE_ONLY, runs.LAST, runs.SELECTED):
        if work.files.head_path(name).exists():
            head = task.folder.load_head(work.seed, name).to(task.device)
            columns[name] = predict_logits(head, task.banks.measured, task.norms[1]).argmax(dim=1).tolist()
    _write_table(work, columns)


def _write_table(work: Work, columns: Mapping[str, Sequence[int]]) -> None:
    """predictions.csv: a row for every measured video, a column for each head's classes."""
    bank, classes = work.task.banks.measured, work.task.folder.meta["classes"]
    work.files.root.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(work.files.root / "predictions.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["id", "label", *columns])
        for number, video in enumerate(bank.ids):
            label = int(bank.labels[number])
            predicted = [classes[column[number]] for column in columns.values()]
            writer.writerow([video, classes[label] if label >= 0 else "", *predicted])

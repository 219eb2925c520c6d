"""The phases of the seeds of one or many runs: who trains when, what is not done twice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from typing import Any

from comix_fast.console import Advance, Reporter
from comix_fast.errors import OutOfTime, RunError
from comix_fast.files import whole_file
from comix_fast.stages import runs
from comix_fast.stages.members import (
    ENDS_AS,
    Work,
    keep_head,
    lines_of,
    measure_start,
    n_iterations,
    new_member,
    seeded_head,
)
from comix_fast.stages.predictions import is_finished, write_predictions, write_table
from comix_fast.stages.road import ADAPT, SUPERVISED, WARMSTART
from comix_fast.stages.runs import SeedFolder
from comix_fast.stages.stopping import Stop
from comix_fast.stages.supervised import Bound, bounds
from comix_fast.stages.together import train_together

HEADS_AT_ONCE = 64
"""Heads in memory at once, some 30 MB each with what training adds; a grid may have thousands."""


def train_all(works: Sequence[Work], reporter: Reporter, stop: Stop | None = None) -> None:
    """Both phases of every work, what each predicts, and the bounds; finished parts are not redone.

    Works that warm-start alike do so once. A work whose loss is not finite is given up, its `error` set. stop: is
    looked at between iterations; raises OutOfTime when its time is over, what is done by then being saved. Works whose
    features are computed must be given one by one.
    """
    stop = stop or Stop()
    heads = [work for work in works if work.task.recipe.method != "target-supervised"]
    # From frames it would take minutes to see again what a backbone makes of all videos.
    finished = {work for work in heads if is_finished(work)}
    firsts: dict[tuple[Any, ...], Work] = {}
    for work in heads:
        firsts.setdefault(work.warmstart, work)
    _phase(list(firsts.values()), WARMSTART, reporter, stop)
    for work in heads:
        first = firsts[work.warmstart]
        work.error = first.error
        if work.lacks(runs.SOURCE_ONLY):
            _take_warmstart(work, first.files)
    adapted = [work for work in heads if work.task.recipe.adapts]
    _phase(adapted, ADAPT, reporter, stop)
    for work in heads:
        if work.error is None:
            if work not in finished:
                write_predictions(work)
            work.checkpoints.clear()
    _bounds([work for work in works if work.task.recipe.method == "target-supervised"], reporter)


def _phase(all_works: Sequence[Work], phase: str, reporter: Reporter, stop: Stop) -> None:
    """Trains one phase of the works that lack its head, each from its checkpoint if there is one."""
    works = [work for work in all_works if work.lacks(ENDS_AS[phase])]
    if not works:
        return
    what = f"seed {works[0].seed}" if len(works) == 1 else f"{len(works)} heads"
    name = "warm-start" if phase == WARMSTART else "adaptation"
    with reporter.progress(
        f"{what}: {name}", sum(n_iterations(work, phase) for work in works), "iterations"
    ) as advance:
        listener = _Listener(advance)
        in_order = sorted(works, key=lambda work: (n_iterations(work, phase), work.kind))
        for first in range(0, len(works), HEADS_AT_ONCE):
            _train_some(in_order[first : first + HEADS_AT_ONCE], phase, listener, len(all_works), stop)


def _train_some(works: Sequence[Work], phase: str, listener: _Listener, of_heads: int, stop: Stop) -> None:
    of = {new_member(work, phase, listener): work for work in works}
    for member, work in of.items():
        if member.begin >= member.iterations:
            # None asked for, or stopped between the last checkpoint and the head.
            if member.iterations == 0:
                measure_start(work, member.head)
            keep_head(work, member.head, ENDS_AS[phase])
    lasting = [member for member in of if member.begin < member.iterations]
    for member, error in train_together(lasting, of_heads, stop):
        of[member].error = error
    if stop.out_of_time and any(of[member].lacks(ENDS_AS[phase]) for member in lasting):
        raise OutOfTime


class _Listener:
    """Passes progress on from whichever thread it comes."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._lock = advance, threading.Lock()

    def __call__(self, done: int) -> None:
        with self._lock:
            self._advance(done)


def _take_warmstart(work: Work, donor: SeedFolder) -> None:
    files, lines = work.files, lines_of(donor, WARMSTART)
    for line in lines:
        # Shares at the threshold of another recipe would pass for this one's.
        if line.get("pseudo", {}).get("threshold") != work.task.recipe.pseudo_threshold:
            line.pop("pseudo", None)
    files.keep_metrics(lines)
    for path in (donor.root / runs.oracle_file(WARMSTART), donor.head_path(runs.SOURCE_ONLY)):
        if path.exists():
            with whole_file(files.root / path.name) as partial:
                shutil.copyfile(path, partial)


def _bounds(works: Sequence[Work], reporter: Reporter) -> None:
    """The target-supervised bound: the one method that trains on target labels, and says so."""
    missing = [work for work in works if not lines_of(work.files, SUPERVISED)]
    if not missing:
        return
    wanted = [
        Bound(w.task.recipe, w.task.banks, w.task.norms, w.seed, seeded_head(w))
        for w in missing
        if w.task.banks is not None
    ]
    total = sum(bound.n_heads for bound in wanted)
    of_heads = wanted[0].n_heads * len(works)
    with reporter.progress("target-supervised bound", total, "heads") as advance:
        for work, value in zip(missing, bounds(wanted, _Listener(advance), of_heads), strict=True):
            if isinstance(value, RunError):
                work.error = value
                continue
            line = {"seed": work.seed, "phase": SUPERVISED, "iteration": work.task.recipe.warmstart_iterations}
            write_table(work, {runs.LAST: value.predicted.tolist()})
            work.files.keep_metrics([{**line, "target_accuracy": value.accuracy}])

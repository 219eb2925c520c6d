"""Which label-free score may be trusted: what each would have picked, from the evaluations that runs have stored.

Target accuracy is read here to judge the scores, after the fact; nothing of a study goes back into a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from comix_fast.errors import ComixError, first_few
from comix_fast.intervals import summarise
from comix_fast.selection import SCORES, rank_correlation
from comix_fast.stages.results import Line

Lines = Mapping[str, Mapping[int, Sequence[Line]]]
"""Method -> seed -> its evaluations of one phase, in order."""


@dataclass(frozen=True)
class Figure:
    """One number of a study. n: how many trainings it is made of.

    half_width: half its 95 % interval over seeds, by the jackknife that leaves one seed out at a time (Tukey 1958); for
        a mean over seeds that is the t-interval. None with one seed, or where a seed left out leaves no number. Other
        seeds, then, but the same videos and the same methods.
    """

    value: float
    half_width: float | None
    n: int


@dataclass(frozen=True)
class ScoreReport:
    """What one score is worth. Every figure is None where there is none to give.

    name, title: of the score; or "last" and "oracle", which correlate with nothing.
    n_scored: trainings in which it was available at some step; in the others the last step stands in.
    within: Spearman's correlation of score and accuracy over the steps of one training, in [−1, 1]; the mean over
        trainings where it is defined (three steps at least, neither side constant).
    across: the same correlation over all methods and seeds together, each at its last step.
    picked_step: mean accuracy, a share in [0, 1], over trainings, each at the step of its highest score.
    gain_step: picked_step less that of the last step; None for "last" itself.
    regret_step: how much more the oracle's step has; None for the oracle itself.
    picked_method: mean over seeds of the accuracy of the method whose score is highest, every method at its last step.
        Tied methods share: their mean. So where no method has the score, and for "last", it is the mean over methods.
    regret_method: how much more the best method of each seed has.
    """

    name: str
    title: str
    n_scored: int = 0
    within: Figure | None = None
    across: Figure | None = None
    picked_step: Figure | None = None
    gain_step: Figure | None = None
    regret_step: Figure | None = None
    picked_method: Figure | None = None
    regret_method: Figure | None = None


@dataclass(frozen=True)
class Study:
    """Every score, beside what needs none and what peeks.

    methods, seeds: of the trainings measured. n_trainings: how many those are, one per method and seed.
    n_unmeasured: trainings left out, since they lack target accuracy at some step.
    scores: one report per name of SCORES, in its order. last: the last step. oracle: picks by target accuracy.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    n_trainings: int
    n_unmeasured: int
    scores: tuple[ScoreReport, ...]
    last: ScoreReport
    oracle: ScoreReport

    @property
    def reports(self) -> tuple[ScoreReport, ...]:
        """In the order of tables: last, the scores, oracle."""
        return self.last, *self.scores, self.oracle

    def to_json(self) -> dict[str, Any]:
        """Fields by name, accuracies, gains and regrets as shares, ready for json.dump."""
        return asdict(self)


@dataclass(frozen=True)
class _Seen:
    """One training as one score sees it. picked: accuracy at the step it picks; score, accuracy: at the last step."""

    seed: int
    scored: bool
    within: float | None
    picked: float
    score: float | None
    accuracy: float


_Value = Callable[[Line], float | None]
_Statistic = Callable[..., float | None]


def study(lines: Lines) -> Study:
    """Judges every score of SCORES on trainings of one pair of domains.

    lines: for each method and seed its evaluations as metrics.jsonl holds them, in order: those of the adaptation, for
        source-only those of the warm-start. A seed given up is left out. A method trained on target labels must be left
        out too: no one without labels could pick it.
    Raises ComixError for a training without lines, or for one of the target-supervised bound.
    """
    _check(lines)
    trainings = [(method, seed, steps) for method, seeds in lines.items() for seed, steps in seeds.items()]
    measured = [one for one in trainings if all(_accuracy(step) is not None for step in one[2])]
    by_seed = [(seed, steps) for _, seed, steps in measured]
    last, oracle = _seen(by_seed, _nothing), _seen(by_seed, _accuracy)
    return Study(
        methods=tuple(dict.fromkeys(method for method, _, _ in measured)),
        seeds=tuple(sorted({seed for seed, _ in by_seed})),
        n_trainings=len(measured),
        n_unmeasured=len(trainings) - len(measured),
        scores=tuple(
            _judged(name, score.title, _seen(by_seed, _score(name)), last, oracle) for name, score in SCORES.items()
        ),
        last=replace(_picked(ScoreReport("last", "last"), last, last, oracle), gain_step=None),
        oracle=replace(
            _picked(ScoreReport("oracle", "oracle (peeks at target labels)"), oracle, last, oracle),
            regret_step=None,
            regret_method=None,
        ),
    )


def _check(lines: Lines) -> None:
    named = {f"{method}, seed {seed}": steps for method, seeds in lines.items() for seed, steps in seeds.items()}
    if empty := [name for name, steps in named.items() if not steps]:
        raise ComixError(
            f"trainings without evaluations: {len(empty):,}", [first_few(empty)], "leave out given-up seeds"
        )
    if bounds := [name for name, steps in named.items() if any(step.get("phase") == "supervised" for step in steps)]:
        raise ComixError("a bound trained on target labels can't be picked without them", [first_few(bounds)])


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _nothing(line: Line) -> None:
    """No score at all."""


def _accuracy(line: Line) -> float | None:
    return _finite(line.get("target_accuracy"))


def _score(name: str) -> _Value:
    def value(line: Line) -> float | None:
        # Runs of before there were several scores stored this one by itself.
        older = {"infomax": line.get("infomax")}
        return _finite((line.get("scores") or older).get(name))

    return value


def _highest(lines: Sequence[Line], value: _Value) -> Line:
    known = [(found, line) for line in lines if (found := value(line)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else lines[-1]


def _seen(trainings: Sequence[tuple[int, Sequence[Line]]], value: _Value) -> list[_Seen]:
    """Every training, all its steps measured, as one score sees it."""
    seen = []
    for seed, steps in trainings:
        scores, accuracies = [value(step) for step in steps], [step["target_accuracy"] for step in steps]
        seen.append(
            _Seen(
                seed=seed,
                scored=any(score is not None for score in scores),
                within=rank_correlation(scores, accuracies),
                picked=_highest(steps, value)["target_accuracy"],
                score=scores[-1],
                accuracy=accuracies[-1],
            )
        )
    return seen


def _judged(name: str, title: str, seen: list[_Seen], last: list[_Seen], oracle: list[_Seen]) -> ScoreReport:
    report = ScoreReport(name, title, n_scored=sum(one.scored for one in seen))
    if not report.n_scored:
        return report
    return replace(
        _picked(report, seen, last, oracle),
        within=_figure(_mean_within, [one for one in seen if one.within is not None]),
        across=_figure(_correlation_across, [one for one in seen if one.score is not None]),
    )


def _picked(report: ScoreReport, seen: list[_Seen], last: list[_Seen], oracle: list[_Seen]) -> ScoreReport:
    """The report with what following the score would have given."""
    return replace(
        report,
        picked_step=_figure(_mean_step, seen),
        gain_step=_figure(_less(_mean_step), seen, last),
        regret_step=_figure(_less(_mean_step), oracle, seen),
        picked_method=_figure(_mean_method, seen),
        regret_method=_figure(_less(_mean_method), oracle, seen),
    )


def _mean_within(seen: Sequence[_Seen]) -> float | None:
    known = [one.within for one in seen if one.within is not None]
    return fmean(known) if known else None


def _correlation_across(seen: Sequence[_Seen]) -> float | None:
    return rank_correlation([one.score for one in seen], [one.accuracy for one in seen])


def _mean_step(seen: Sequence[_Seen]) -> float | None:
    return fmean(one.picked for one in seen) if seen else None


def _mean_method(seen: Sequence[_Seen]) -> float | None:
    """The mean over seeds of the accuracy of the method with the highest score; of the tied ones their mean."""
    seeds: dict[int, list[_Seen]] = {}
    for one in seen:
        seeds.setdefault(one.seed, []).append(one)
    picked = []
    for methods in seeds.values():
        best = max((one.score for one in methods if one.score is not None), default=None)
        picked.append(fmean(one.accuracy for one in methods if one.score == best))
    return fmean(picked) if picked else None


def _less(statistic: _Statistic) -> _Statistic:
    """The statistic of one score less that of another on the same trainings."""

    def difference(one: Sequence[_Seen], other: Sequence[_Seen]) -> float | None:
        mine, theirs = statistic(one), statistic(other)
        return None if mine is None or theirs is None else mine - theirs

    return difference


def _figure(statistic: _Statistic, *seen: Sequence[_Seen]) -> Figure | None:
    """A statistic of the trainings as one score or several see them, with its interval over seeds."""
    value = statistic(*seen)
    if value is None:
        return None
    seeds = sorted({one.seed for one in seen[0]})
    without = [statistic(*([one for one in row if one.seed != seed] for row in seen)) for seed in seeds]
    # Tukey's pseudo-values: for a mean over seeds they are the seeds' own values.
    pseudo = [len(seeds) * value - (len(seeds) - 1) * other for other in without if other is not None]
    whole = len(pseudo) == len(seeds)
    return Figure(value, summarise(pseudo).half_width if whole else None, len(seen[0]))

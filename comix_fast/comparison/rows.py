"""The one table behind every form a comparison is written in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from comix_fast.comparison.bootstrap import (
    N_DRAWS,
    SEED,
    Gain,
    Shares,
    bootstrap_accuracies,
    gain_of,
    has_accuracy,
    percentile_interval,
)
from comix_fast.comparison.cells import CHOICE_TITLES, Comparison, known_choice
from comix_fast.comparison.ranking import mean_ranks
from comix_fast.intervals import Summary, summarise

# Accuracies in bootstrap draws by method and choice.
Drawn = dict[tuple[str, str], Shares]


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one method by one choice, as shares in [0, 1].

    over_seeds: mean and t-interval over seeds: these videos, other seeds. The videos' sampling error is not in it.
    low, high: 95 % bootstrap interval of the mean over videos and seeds: other videos of the same kind, other seeds.
        With one seed, or where no seed changes the method, over videos alone.
    """

    over_seeds: Summary
    low: float
    high: float

    def to_json(self) -> dict[str, float | int | None]:
        """Fields by name, ready for json.dump."""
        return {**self.over_seeds.to_json(), "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Row:
    """One method.

    accuracies: by choice; None where it is not known.
    gain: over the baseline, by the table's choice; None for the baseline itself and where either is unknown.
    rank: mean rank over bootstrap draws by the table's choice, 1 best; None for a bound and where unknown.
    n_seeds: finished ones; 0 where no seed changes it or all were given up. given_up: how many were.
    """

    name: str
    title: str
    family: str
    note: str
    deterministic: bool
    n_seeds: int
    given_up: int
    accuracies: dict[str, Accuracy | None]
    gain: Gain | None
    rank: float | None

    @property
    def bound(self) -> bool:
        """Whether it was trained on target labels: shown beside the others, never called the best."""
        return self.family == "bound"

    def to_json(self) -> dict[str, Any]:
        """Fields by name, accuracies by choice, ready for json.dump."""
        plain = ("name", "title", "family", "note", "deterministic", "n_seeds", "given_up")
        accuracies = {name: one.to_json() if one else None for name, one in self.accuracies.items()}
        gain = self.gain.to_json() if self.gain else None
        return {**{name: getattr(self, name) for name in plain}, **accuracies, "gain": gain, "rank": self.rank}


@dataclass(frozen=True)
class ResultTable:
    """Rows, and what a reader must know to read them; `choice` is the one of gains and ranks."""

    comparison: Comparison = field(repr=False)
    rows: tuple[Row, ...]
    choice: str
    n_draws: int

    @property
    def title(self) -> str:
        """Domains, seeds, what ± means, and which videos."""
        here = self.comparison
        n_seeds = len(here.seeds)
        way = f"{here.source} → {here.target}"
        seeds = f"{n_seeds:,} seeds" if n_seeds != 1 else "one seed"
        if not here.labels:
            return f"{way}, {seeds}: no target video carries a label, so there is no accuracy"
        interval = "mean ± 95 % over seeds" if n_seeds > 1 else "so no interval over seeds"
        videos = "adapted on without their labels (transductive)" if here.transductive else "held out (test list)"
        return f"target accuracy in %, {way}, {seeds}, {interval}; {len(here.labels):,} videos, {videos}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings: the method, three choices, gain, rank."""
        reference = self.comparison.reference
        return ("method", *CHOICE_TITLES.values(), f"gain over {reference.title}" if reference else "gain", "rank")

    @property
    def notes(self) -> tuple[str, ...]:
        """What the numbers mean and where some are missing, a line each."""
        here, lines = self.comparison, []
        if here.labels:
            lines += _meanings(here, CHOICE_TITLES[self.choice], self.n_draws)
            if len(here.seeds) > 1 and any(row.deterministic for row in self.rows):
                lines.append("without ±: no seed changes the method")
        lines += [
            f"given up: {row.title}, {row.given_up:,} of {len(here.seeds):,} seeds" for row in self.rows if row.given_up
        ]
        return (*lines, *(f"on {row.title}: {row.note}" for row in self.rows if row.note))


def _meanings(here: Comparison, choice: str, n_draws: int) -> list[str]:
    lines = [f"chosen without labels: {here.selection}"] if here.selection else []
    if here.reference:
        lines.append(
            f"gain: percentage points by {choice}, [95 % of {n_draws:,} bootstrap draws over videos and seeds, paired]"
        )
    else:
        lines.append(f"no gain: {here.baseline} is not among the methods")
    return [*lines, f"rank: by {choice}, mean over the draws, 1 is best; a bound is not ranked"]


def rows(comparison: Comparison, *, choice: str = "selected", n_draws: int = N_DRAWS, seed: int = SEED) -> list[Row]:
    """One row per method, in the comparison's order.

    choice: by which accuracies gain and rank are counted.
    n_draws, seed: of the bootstrap; the same ones give the same rows.
    Raises ComixError where there is no such choice.
    """
    known_choice(choice)
    columns = [
        (name, one) for name in comparison.methods for one in CHOICE_TITLES if has_accuracy(comparison, name, one)
    ]
    drawn: Drawn = {}
    if columns:
        shares = bootstrap_accuracies(comparison, columns, n_draws=n_draws, seed=seed)
        drawn = dict(zip(columns, shares.T, strict=True))
    ranks = _ranks(comparison, choice, drawn)
    return [
        Row(
            name=name,
            title=method.title,
            family=method.family,
            note=method.note,
            deterministic=method.deterministic,
            n_seeds=0 if method.deterministic else len(method.seeds),
            given_up=comparison.given_up(name),
            accuracies={one: _accuracy(comparison, (name, one), drawn) for one in CHOICE_TITLES},
            gain=_gain(comparison, name, choice, drawn),
            rank=ranks.get(name),
        )
        for name, method in comparison.methods.items()
    ]


def tabulate(
    comparison: Comparison, *, choice: str = "selected", n_draws: int = N_DRAWS, seed: int = SEED
) -> ResultTable:
    """The rows with their title, headings and notes: what every writer takes. Arguments and errors as `rows`."""
    found = rows(comparison, choice=choice, n_draws=n_draws, seed=seed)
    return ResultTable(comparison, tuple(found), choice, n_draws)


def _ranks(comparison: Comparison, choice: str, drawn: Drawn) -> dict[str, float]:
    """Mean rank by name of every method with an accuracy; bounds neither have one nor push others down."""
    ranked = {
        name: drawn[name, choice]
        for name, method in comparison.methods.items()
        if method.family != "bound" and (name, choice) in drawn
    }
    if not ranked:
        return {}
    return dict(zip(ranked, mean_ranks(np.stack(list(ranked.values()), axis=1)).tolist(), strict=True))


def _accuracy(comparison: Comparison, column: tuple[str, str], drawn: Drawn) -> Accuracy | None:
    if column not in drawn:
        return None
    over_seeds = summarise(comparison.correct(*column).mean(axis=1).tolist())
    return Accuracy(over_seeds, *percentile_interval(drawn[column]))


def _gain(comparison: Comparison, name: str, choice: str, drawn: Drawn) -> Gain | None:
    one, two = (name, choice), (comparison.baseline, choice)
    if one == two or one not in drawn or two not in drawn:
        return None
    return gain_of(comparison, one, two, (drawn[one], drawn[two]))

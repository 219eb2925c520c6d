"""What a comparison is made of: classes predicted by every method, under every seed, by every choice of the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comix_fast.errors import ComixError, ShapeError, first_few

# How a step is chosen, and as tables name it. The last one peeks at target labels.
CHOICE_TITLES = {
    "last": "last",
    "selected": "chosen without labels",
    "oracle": "oracle (peeks at target labels)",
}
# "bound": trained on target labels; shown beside the others, never ranked against them.
FAMILIES = ("baseline", "published", "ours", "bound")


@dataclass(frozen=True)
class Cell:
    """One method, one seed, one way of choosing the step.

    predicted: [V] the class of each measured video, in the comparison's order of videos.
    """

    predicted: tuple[int, ...]


@dataclass(frozen=True)
class MethodResult:
    """One method over its seeds.

    title: how tables name it.
    seeds: seed -> choice ("last", and "selected" and "oracle" where a step was chosen) -> its cell. Every seed
        holds the same choices. A method that ends in one model, with no step to choose, gives "last" alone, and
        that cell then stands under every choice. Seeds given up are left out.
    family: one of FAMILIES.
    deterministic: no seed changes it: `seeds` holds exactly one entry, which stands for all of them.
    note: one line shown below the table.
    """

    title: str
    seeds: Mapping[int, Mapping[str, Cell]]
    family: str = "baseline"
    deterministic: bool = False
    note: str = ""

    def chosen(self, choice: str) -> dict[int, Cell]:
        """Seed -> cell by one choice; empty where the method has none."""
        return {
            seed: cells["last" if set(cells) == {"last"} else choice]
            for seed, cells in self.seeds.items()
            if choice in cells or set(cells) == {"last"}
        }


@dataclass(frozen=True)
class Comparison:
    """Methods × seeds on one cache, measured on one list of target videos.

    labels: [V] the true class of every measured video; only labelled videos are listed, so V may be 0.
    classes: names of the C classes.
    methods: name -> result, in the order of display.
    baseline: name of the method that gains are counted from; it may be absent, and then there are no gains.
    seeds: every seed that was asked for; a method that lacks some gave them up.
    source, target: names of the domains.
    transductive: the measured videos are those adapted on, without their labels; else held out.
    selection: how the step was chosen without labels, in a few words.
    Raises ShapeError where a cell does not predict V videos, ComixError for a class outside 0 … C − 1, a choice or
    family that does not exist, a seed not asked for, or cells that do not fit together.
    """

    labels: tuple[int, ...]
    classes: tuple[str, ...]
    methods: Mapping[str, MethodResult]
    baseline: str
    seeds: tuple[int, ...]
    source: str
    target: str
    transductive: bool
    selection: str = ""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds):
            raise ComixError(f"a seed is listed twice: {first_few(map(str, self.seeds))}")
        _within(self._truth, len(self.classes), "the labels")
        for name, method in self.methods.items():
            _fits_together(name, method, self.seeds)
            for seed, cells in method.seeds.items():
                for choice, cell in cells.items():
                    where = f"{name}, seed {seed}, {choice}"
                    if len(cell.predicted) != len(self.labels):
                        raise ShapeError(
                            f"{where}: {len(cell.predicted):,} classes predicted for {len(self.labels):,} videos",
                            hint="give one class per labelled video, in the order of the labels",
                        )
                    _within(np.asarray(cell.predicted, dtype=np.int64), len(self.classes), where)

    @cached_property
    def _truth(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.labels, dtype=np.int64)

    @property
    def reference(self) -> MethodResult | None:
        """The method that gains are counted from, if it is here."""
        return self.methods.get(self.baseline)

    def given_up(self, name: str) -> int:
        """How many of the seeds asked for a method lacks; 0 for a deterministic one that has its cell."""
        method = self.methods[name]
        if method.deterministic and method.seeds:
            return 0
        return len(self.seeds) - len(method.seeds)

    def correct(self, name: str, choice: str) -> npt.NDArray[np.bool_]:
        """[S, V] whether each of a method's seeds, in its own order, got each video right; S may be 0."""
        cells = self.methods[name].chosen(choice).values()
        predicted = [np.asarray(cell.predicted, dtype=np.int64) == self._truth for cell in cells]
        return np.stack(predicted) if predicted else np.zeros((0, len(self.labels)), dtype=np.bool_)


def known_choice(choice: str) -> str:
    """The choice itself. Raises ComixError where there is no such choice."""
    if choice not in CHOICE_TITLES:
        raise ComixError(f"no choice of a step is called {choice!r}", hint=f"choose from {', '.join(CHOICE_TITLES)}")
    return choice


def _within(found: npt.NDArray[np.int64], n_classes: int, where: str) -> None:
    outside = found[(found < 0) | (found >= n_classes)]
    if outside.size:
        raise ComixError(
            f"{where}: {outside.size:,} of {found.size:,} classes lie outside 0 … {n_classes - 1}",
            [first_few(map(str, outside.tolist()))],
        )


def _fits_together(name: str, method: MethodResult, seeds: tuple[int, ...]) -> None:
    if method.family not in FAMILIES:
        raise ComixError(f"{name}: no family is called {method.family!r}", hint=f"choose from {', '.join(FAMILIES)}")
    if method.deterministic and len(method.seeds) > 1:
        raise ComixError(f"{name}: {len(method.seeds):,} seeds, yet no seed changes it", hint="give one entry")
    foreign = [] if method.deterministic else sorted(set(method.seeds) - set(seeds))
    if foreign:
        raise ComixError(f"{name}: seeds that were not asked for", [first_few(map(str, foreign))])
    kinds = {frozenset(cells) for cells in method.seeds.values()}
    if len(kinds) > 1:
        raise ComixError(f"{name}: its seeds do not hold the same choices", [", ".join(map(str, map(sorted, kinds)))])
    for choices in kinds:
        if "last" not in choices:
            raise ComixError(f"{name}: no cell for its last step")
        for choice in choices:
            known_choice(choice)

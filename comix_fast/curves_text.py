"""How training went, in a few lines of a terminal: a sparkline for each loss term and for target accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from comix_fast.printable import printable
from comix_fast.sparkline import encodes, marks_for, sparkline
from comix_fast.stages.curves import (
    CONFIDENT,
    LABELLED_IN_BATCHES,
    TARGET_ACCURACY,
    Curve,
    mean_curves,
    worth_showing,
)
from comix_fast.stages.results import PHASES
from comix_fast.stages.runs import RunFolder

LONGEST_SPARK = 40
"""Marks of one phase: there are about as many evaluations."""
SHORTEST_SPARK = 8
_GAP = 2
LEAST_SPREAD = 0.1
"""What all heights together stand for at least, as a share of a curve's largest value: less is no rise or fall."""
_TITLES = {"warmstart": "warm-start", "adapt": "adaptation", "supervised": "supervised"}


@dataclass(frozen=True)
class CurveLines:
    """One line for each curve: its name, and for each phase the first value, the marks and the last value.

    title: without the phases, which follow it. curves: as mean_curves gives them. Every curve is drawn from its own
    lowest to its own highest value, over all phases, or about its middle where it hardly changes. Where the phases
    have no room beside each other they follow each other. Renders nothing where there are no curves.
    """

    title: str
    curves: Mapping[str, Mapping[str, Curve]]

    @property
    def shown(self) -> list[str]:
        """The names of the curves, a line each. None where no phase has two evaluations: one is no curve, and the
        table has its number."""
        names = worth_showing(self.curves)
        return names if any(len(curve.values) > 1 for name in names for curve in self.curves[name].values()) else []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names, bar = self.shown, " │ " if encodes("│", options.encoding) else " | "
        phases = [phase for phase in PHASES if any(phase in self.curves[name] for name in names)]
        if not names:
            return
        together = [phases] if self._room(names, phases, bar, options.max_width) else [[phase] for phase in phases]
        for some in together:
            yield Text(f"{self.title}: {bar.join(_TITLES[phase] for phase in some)}", style="bold")
            there = [name for name in names if any(phase in self.curves[name] for phase in some)]
            room = self._room(there, some, bar, options.max_width) or SHORTEST_SPARK
            yield from self._lines(there, some, bar, room, marks_for(options.encoding))

    def _room(self, names: Sequence[str], phases: Sequence[str], bar: str, width: int) -> int:
        """Marks that each phase has room for; 0 if they are too few to be a curve."""
        ends = sum(sum(self._widths(names, phase)) + 2 for phase in phases)
        taken = max(cell_len(_label(name)) for name in names) + _GAP + ends + len(bar) * (len(phases) - 1)
        room = min(LONGEST_SPARK, (width - taken) // len(phases))
        return room if room >= SHORTEST_SPARK else 0

    def _widths(self, names: Sequence[str], phase: str) -> tuple[int, int]:
        """Of a phase's first values, and of its last ones."""
        ends = [_ends(name, self.curves[name].get(phase)) for name in names]
        return max(len(first) for first, _ in ends), max(len(last) for _, last in ends)

    def _lines(self, names: Sequence[str], phases: Sequence[str], bar: str, room: int, marks: str) -> Iterator[Text]:
        wide = max(cell_len(_label(name)) for name in names) + _GAP
        for name in names:
            parts = []
            for phase in phases:
                n_marks = max(len(self.curves[other][phase].values) for other in names if phase in self.curves[other])
                spark = _spark(self.curves[name], phase, room, marks).ljust(min(room, n_marks))
                (first, last), widths = _ends(name, self.curves[name].get(phase)), self._widths(names, phase)
                parts.append(f"{first.rjust(widths[0])} {spark} {last.rjust(widths[1])}")
            line = _label(name) + " " * (wide - cell_len(_label(name))) + bar.join(parts)
            yield Text(line.rstrip(), style="dim" if name == TARGET_ACCURACY else "")


def run_curves(run: RunFolder, of: str = "") -> CurveLines:
    """The curves of a run, the mean over its seeds. of: whose they are, where a table shows several runs."""
    n_seeds = len(run.recipe.seed_list)
    title = "training curves" + (f" of {printable(of)}" if of else "")
    return CurveLines(title + (f", mean over {n_seeds:,} seeds" if n_seeds > 1 else ""), mean_curves(run))


def _label(name: str) -> str:
    ours = {TARGET_ACCURACY: "target accuracy (not used)", CONFIDENT: LABELLED_IN_BATCHES}
    return ours.get(name) or printable(name, 24)


def _ends(name: str, curve: Curve | None) -> tuple[str, str]:
    if curve is None:
        return "", ""
    return _number(name, curve.values[0]), _number(name, curve.values[-1])


def _number(name: str, value: float) -> str:
    if name == TARGET_ACCURACY:
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _spark(phases: Mapping[str, Curve], phase: str, width: int, marks: str) -> str:
    everything = [value for curve in phases.values() for value in curve.values]
    if phase not in phases:
        return ""
    low, high = min(everything), max(everything)
    if (spread := LEAST_SPREAD * max(abs(low), abs(high))) > high - low:
        middle = (low + high) / 2
        low, high = middle - spread / 2, middle + spread / 2
    return sparkline(phases[phase].values, width, low, high, marks)

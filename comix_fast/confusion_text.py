"""What a head takes for what, compactly: a small matrix, or the most frequent confusions of many classes."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from comix_fast.printable import printable
from comix_fast.sparkline import encodes
from comix_fast.stages.confusions import Confusion

MOST_CLASSES = 12
"""In a matrix."""
MOST_CONFUSIONS = 10
LONGEST_NAME = 24
_GAP = 2


@dataclass(frozen=True)
class ConfusionLines:
    """A matrix of counts, rows the true class, columns the predicted one; of more than 12 classes, or where it is too
    wide, the ten most frequent confusions. Over it whose predictions they are, and how many are right."""

    found: Confusion

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        classes = [printable(name, LONGEST_NAME) for name in self.found.classes]
        right = sum(row[number] for number, row in enumerate(self.found.counts))
        heads = f"{self.found.head} head{'s' if self.found.n_seeds > 1 else ''}"
        seeds = f", {self.found.n_seeds:,} seeds" if self.found.n_seeds > 1 else ""
        whole = f"{heads}{seeds}: {right:,} of {sum(map(sum, self.found.counts)):,} right"
        if len(classes) <= MOST_CLASSES and (columns := self._columns(classes, options.max_width)):
            yield Text(f"confusion, {whole}; rows: true class", style="bold")
            yield from self._matrix(classes, columns, "·" if encodes("·", options.encoding) else ".")
            return
        yield Text(f"most frequent confusions, {whole}", style="bold")
        arrow = "→" if encodes("→", options.encoding) else "->"
        wrong = self.found.most_frequent(MOST_CONFUSIONS)
        named = [f"{classes[true]} {arrow} {classes[taken]}" for true, taken, _ in wrong]
        wide = max(map(cell_len, named), default=0)
        digits = max((len(f"{count:,}") for *_, count in wrong), default=0)
        for name, (true, _, count) in zip(named, wrong, strict=True):
            of = f"{count:>{digits},} of {sum(self.found.counts[true]):,}"
            yield Text(f"{name}{' ' * (wide - cell_len(name) + _GAP)}{of}")

    def _columns(self, classes: list[str], width: int) -> list[str]:
        """What stands over each column: the class, or its number where that is too wide; nothing if both are."""
        for columns in (classes, [str(number + 1) for number in range(len(classes))]):
            rows = self._rows(classes, columns)
            if max(map(cell_len, rows)) + sum(_GAP + wide for wide in self._widths(columns)) <= width:
                return columns
        return []

    def _rows(self, classes: list[str], columns: list[str]) -> list[str]:
        if columns is classes:
            return classes
        wide = len(columns[-1])
        return [f"{column:>{wide}} {name}" for column, name in zip(columns, classes, strict=True)]

    def _widths(self, columns: list[str]) -> list[int]:
        counts = zip(*self.found.counts, strict=True)
        return [
            max(cell_len(column), *(len(f"{count:,}") for count in of))
            for column, of in zip(columns, counts, strict=True)
        ]

    def _matrix(self, classes: list[str], columns: list[str], nothing: str) -> RenderResult:
        rows, widths = self._rows(classes, columns), self._widths(columns)
        wide = max(map(cell_len, rows))
        head = "".join(" " * (_GAP + w - cell_len(name)) + name for w, name in zip(widths, columns, strict=True))
        yield Text(" " * wide + head)
        for true, (name, counts) in enumerate(zip(rows, self.found.counts, strict=True)):
            line = Text(name + " " * (wide - cell_len(name)))
            for taken, (count, w) in enumerate(zip(counts, widths, strict=True)):
                style = "bold" if taken == true else "" if count else "dim"
                line.append(f"{count:,}".rjust(_GAP + w) if count else nothing.rjust(_GAP + w), style)
            yield line

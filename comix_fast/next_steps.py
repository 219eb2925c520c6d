"""What to type next: commands that can be copied from a narrow terminal too."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_FIRST, _OTHERS = "next: ", "or:   "


@dataclass(frozen=True)
class NextSteps:
    """commands: each as its words, quoted here for a shell; one a line. A command that is wider than the terminal goes
    on below it, after a backslash, so that its lines can be pasted as they stand."""

    commands: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, words in enumerate(self.commands):
            line = _OTHERS if number else _FIRST
            begun = False
            for word in map(shlex.quote, words):
                if begun and cell_len(line) + cell_len(word) + len("  \\") > options.max_width:
                    yield Text(line + " \\", overflow="fold")
                    line, begun = " " * len(_FIRST), False
                line, begun = line + (" " if begun else "") + word, True
            yield Text(line, overflow="fold")

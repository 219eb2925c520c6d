"""What the user sees while work goes on: progress with rate and time left, or quiet plain lines."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.text import Text

Advance = Callable[[int], None]
PLAIN_EVERY_SECONDS = 15.0


class Reporter(Protocol):
    """What a stage tells its caller. `comix_fast.console.Silent` ignores it all."""

    def say(self, text: str) -> None:
        """A line about what is done, for people."""

    def warn(self, text: str) -> None:
        """A line that matters even to those who asked for quiet."""

    def progress(self, what: str, total: int, unit: str) -> contextlib.AbstractContextManager[Advance]:
        """Progress over `total` units; call the value with how many more are done."""


class Silent:
    """Reports nothing: for library use and tests."""

    def say(self, text: str) -> None:
        """Ignored."""

    def warn(self, text: str) -> None:
        """Ignored."""

    @contextlib.contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """Ignored."""
        yield lambda done: None


class _Rate(ProgressColumn):
    """Units a second over the last half minute, and the time left at that pace."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(pace(task.completed, task.total or 0, speed or 0.0, str(task.fields["unit"])))


def pace(done: float, total: float, rate: float, unit: str) -> str:
    """Reads "38.2 clips/s, 1:50 left"; empty until something is done. rate: units a second."""
    if rate <= 0:
        return ""
    text = f"{rate:,.1f} {unit}/s" if rate >= 1 else f"{60 * rate:,.1f} {unit}/min"
    if done < total:
        minutes, rest = divmod(round((total - done) / rate), 60)
        hours, minutes = divmod(minutes, 60)
        text += f", {hours}:{minutes:02}:{rest:02} left" if hours else f", {minutes}:{rest:02} left"
    return text


class Terminal:
    """Reports on stderr, so that stdout holds results alone. quiet: warnings only."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, emoji=False)
        self.quiet = quiet

    def say(self, text: str) -> None:
        """Printed unless quiet."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Always printed."""
        self.console.print(Text("warning: ", style="yellow") + Text(text), soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        """A live bar on a terminal, a line now and then elsewhere, nothing when quiet."""
        if self.quiet:
            yield lambda done: None
        elif self.console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Rate(),
            )
            with Progress(*columns, console=self.console) as bar:
                task = bar.add_task(what, total=total, unit=unit)
                yield lambda done: bar.update(task, advance=done)
        else:
            lines = _PlainLines(self.console, what, total, unit)
            yield lines.advance
            lines.end()


class _PlainLines:
    """Progress for logs: one line every quarter of a minute, and one at the end."""

    def __init__(self, console: Console, what: str, total: int, unit: str) -> None:
        self._console, self._what, self._total, self._unit = console, what, total, unit
        self._done, self._begun = 0, time.monotonic()
        self._printed, self._done_then = self._begun, 0

    def advance(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._printed >= PLAIN_EVERY_SECONDS:
            self._print((self._done - self._done_then) / max(now - self._printed, 1e-9))
            self._printed, self._done_then = now, self._done

    def end(self) -> None:
        self._print(self._done / max(time.monotonic() - self._begun, 1e-9))

    def _print(self, rate: float) -> None:
        speed = pace(self._done, self._total, rate, self._unit)
        line = f"{self._what}: {self._done:,}/{self._total:,} {self._unit}" + (f", {speed}" if speed else "")
        self._console.print(line, markup=False, soft_wrap=True)


def print_answer(value: Any, as_json: bool, rendered: Any) -> None:
    """A command's results on stdout: JSON for scripts, else what people read."""
    if as_json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.encoding.lower().startswith("utf"):
            # A sign that the terminal does not have is no reason to lose what an hour of work came to.
            sys.stdout.reconfigure(errors="replace")
        console = Console(highlight=False, emoji=False)
        # A pipe has no width: names must not be folded at 80 columns.
        console.width = console.width if console.is_terminal else 200
        console.print(rendered)

"""What people see while work goes on."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from comix_fast import console
from comix_fast.console import Terminal, pace


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (0, 10, 0.0, ""),
        (50, 100, 25.0, "25.0 clips/s, 0:02 left"),
        (100, 100, 50.0, "50.0 clips/s"),
        (1, 1000, 0.25, "15.0 clips/min, 1:06:36 left"),
        (10, 4000, 1.0, "1.0 clips/s, 1:06:30 left"),
    ],
)
def test_pace_gives_rate_and_time_left(done: int, total: int, rate: float, text: str) -> None:
    assert pace(done, total, rate, "clips") == text


def written(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> str:
    stream = io.StringIO()
    terminal.console = Console(file=stream, width=200)
    monkeypatch.setattr(console, "PLAIN_EVERY_SECONDS", 0.0)
    terminal.say("a [b] c")
    with terminal.progress("extracting", 3, "clips") as advance:
        advance(1)
        advance(2)
    terminal.warn("random [weights]")
    return stream.getvalue()


def test_logs_get_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written(Terminal(), monkeypatch).splitlines()
    assert lines[0] == "a [b] c"
    assert lines[1].startswith("extracting: 1/3 clips, ")
    assert lines[-2].startswith("extracting: 3/3 clips")
    assert lines[-1] == "warning: random [weights]"


def test_quiet_leaves_warnings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(Terminal(quiet=True), monkeypatch) == "warning: random [weights]\n"


def test_a_terminal_gets_a_bar_with_rate_and_total() -> None:
    stream = io.StringIO()
    terminal = Terminal()
    terminal.console = Console(file=stream, width=120, force_terminal=True)
    with terminal.progress("extracting", 4, "clips") as advance:
        for _ in range(4):
            time.sleep(0.01)
            advance(1)
    text = stream.getvalue()
    assert "extracting" in text
    assert "4/4" in text
    assert "clips/" in text

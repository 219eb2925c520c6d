"""Every `comix` line of the README is a command that this version understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from comix_fast.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "cache" / "README.md"]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        found += re.findall(r"^ {4}(?:\$ )?(comix [^\n#]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [line.strip() for line in found]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 8
    assert any(line.startswith("comix retrieve") for line in commands())


@pytest.mark.parametrize("line", commands())
def test_the_line_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    command = get_command(app)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"no such command: {line}"
    assert command.make_context(line, words).params


def test_nothing_is_left_to_be_filled_in() -> None:
    for page in PAGES:
        assert "@@" not in page.read_text(encoding="utf-8"), page.name


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"

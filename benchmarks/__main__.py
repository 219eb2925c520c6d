"""`make bench`: every ratio that comix-fast promises, measured on this machine, in one table.

    python -m benchmarks [--quick] [--strict] [ROOM …]

Each room is measured in a process of its own. With --strict the exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.measure import Ratio

ROOMS = ("backbone", "extract", "step", "loading", "retrieval")


def main() -> None:
    """Measures the rooms asked for and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rooms", nargs="*", default=ROOMS, help=", ".join(ROOMS))
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds: a check that all still runs")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        lines = importlib.import_module(f"benchmarks.{asked.one}").measure(asked.quick)
        print(json.dumps([dataclasses.asdict(line) for line in lines]))
        return
    if unknown := [room for room in asked.rooms if room not in ROOMS]:
        parser.error(f"no room named {', '.join(unknown)}; there are {', '.join(ROOMS)}")
    console = Console(highlight=False)
    # A pipe has no width: lines must not be folded at 80 columns.
    console.width = console.width if console.is_terminal else 200
    lines = [line for room in asked.rooms for line in _in_a_process(room, asked.quick, console)]
    console.print(f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}")
    console.print(_table(lines))
    sys.exit(1 if asked.strict and not all(line.ok for line in lines) else 0)


def _in_a_process(room: str, quick: bool, console: Console) -> list[Ratio]:
    Console(stderr=True).print(f"measuring {room} …")
    command = [sys.executable, "-m", "benchmarks", "--one", room, *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [Ratio(**line) for line in json.loads(done.stdout.splitlines()[-1])]


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _table(lines: list[Ratio]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", "ours", "plain", "ratio", "target", "", "conditions"):
        table.add_column(name, justify="left" if name in ("", "conditions") else "right")
    for line in lines:
        sign = "≥" if line.at_least else "≤"
        cells = (f"{line.ours:.4g}", f"{line.plain:.4g}", f"{line.ratio:.4g}", f"{sign} {line.target:g}")
        table.add_row(line.name, *cells, Text("ok" if line.ok else "missed"), Text(line.note))
    return table


if __name__ == "__main__":
    main()

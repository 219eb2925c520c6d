"""Memory of an iteration of end-to-end training at the settings that a user chooses among, and where its time goes.

    python -m benchmarks.training_memory [--quick] [--device cpu|cuda] [--seconds] [NUMBER …]

Each setting is measured in a process of its own, one iteration of batch 8 with 16 clips a video unless its line says
otherwise, on pixels made up in memory: decoding is not in it. The smallest come first: a setting that would take more
than 80 % of the free memory, as the smaller ones let expect, is not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.training_iteration import Iterations, Setting

ROOT = Path(__file__).parents[1]
MOST = 0.8
SETTINGS = (
    Setting("train", micro_batch=1, checkpoints=True, videos=1),
    Setting("train", micro_batch=1, videos=1),
    Setting("finetune", micro_batch=1, videos=2),
    Setting("finetune", micro_batch=2, videos=4),
    Setting("finetune", micro_batch=4),
    Setting("finetune", checkpoints=True),
    Setting("finetune"),
    Setting("finetune", "fp32", micro_batch=1, videos=2),
    Setting("finetune", "fp32", micro_batch=2, videos=4),
    Setting("finetune", "fp32"),
    Setting("finetune", train_from="Mixed_4f", batch_norm="frozen"),
    Setting("finetune", train_from="Mixed_5b"),
    Setting("train", train_from="Mixed_5b"),
    Setting("train", train_from="Mixed_5b", graphs="keep"),
    Setting("train"),
    Setting("train", graphs="keep"),
)
"""The smallest of a kind first. What recomputes has the memory of one micro-batch, however many follow, so the lines of
micro-batches 1 and 2 are measured on fewer videos."""


@dataclass(frozen=True)
class Cost:
    """One setting. grown: bytes at the highest point over those held before the first iteration; total: all of them.

    seconds: of the last iteration, by what they went to.
    """

    grown: int
    total: int
    seconds: dict[str, float]


def free_bytes(device: str) -> int:
    """What a new process could have."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def expected_bytes(setting: Setting, known: dict[Setting, Cost]) -> int | None:
    """At most so many, from the largest measured setting that keeps the maps of fewer videos; None without one."""
    alike = ("precision", "checkpoints", "train_from")
    smaller = [
        (other.at_once, cost.total)
        for other, cost in known.items()
        if all(getattr(other, name) == getattr(setting, name) for name in alike) and other.at_once <= setting.at_once
    ]
    if not smaller:
        return None
    at_once, total = max(smaller)
    return total * setting.at_once // at_once


def measure(number: int, quick: bool, seconds: bool, device: str) -> Cost:
    """One setting in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training_memory", "--device", device, "--child", str(number)]
    command += [*(["--quick"] if quick else []), *(["--seconds"] if seconds else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _child(setting: Setting, device: torch.device, n_iterations: int) -> Cost:
    iterations = Iterations(setting, device)
    # What the first product brings into memory is no memory of the iteration.
    torch.rand(64, 64, device=device) @ torch.rand(64, 64, device=device)
    before = _peak(device, reset=True)
    for number in range(n_iterations):
        iterations.clock.restart()
        with iterations.clock("head"):
            iterations.stack.step(number)
    total = _peak(device)
    return Cost(total - before, total, dict(iterations.clock.seconds))


def _peak(device: torch.device, reset: bool = False) -> int:
    """The most memory that this process has held, in bytes; `reset` begins anew with what it holds now (Linux)."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def _cells(setting: Setting) -> list[str]:
    videos = f"{setting.videos} × {setting.clips}"
    together = "stream" if setting.micro_batch is None else str(setting.micro_batch)
    checkpoints = "yes" if setting.checkpoints else "no"
    learns = setting.train_from or "all"
    return [
        setting.command, setting.precision, videos, together, setting.graphs, checkpoints, learns, setting.batch_norm
    ]  # fmt: skip


def _table(settings: dict[int, Setting], costs: dict[int, Cost], expected: dict[int, int], seconds: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    names = ("", "command", "", "videos × clips", "micro-batch", "graphs", "checkpoints", "learns", "batch norm")
    for name in (*names, "iteration, GB", "in all, GB", *(["seconds"] if seconds else [])):
        table.add_column(name)
    for number, setting in settings.items():
        if number in costs:
            cost = costs[number]
            spent = ", ".join(f"{name} {value:.1f}" for name, value in cost.seconds.items() if value >= 0.05)
            figures = [f"{cost.grown / 1e9:.2f}", f"{cost.total / 1e9:.2f}", *([spent] if seconds else [])]
        else:
            figures = ["", f"about {expected[number] / 1e9:.0f}, not run"]
        table.add_row(str(number), *_cells(setting), *figures)
    return table


def main() -> None:
    """Measures the settings asked for and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_memory", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, default=range(len(SETTINGS)), help="of settings; default: all")
    parser.add_argument("--quick", action="store_true", help="two videos of two clips: a check that all still runs")
    parser.add_argument("--seconds", action="store_true", help="show where the time went, of two iterations the second")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    settings = [_quick(setting) for setting in SETTINGS] if asked.quick else list(SETTINGS)
    if asked.child is not None:
        cost = _child(settings[asked.child], torch.device(asked.device), 2 if asked.seconds else 1)
        print(json.dumps(dataclasses.asdict(cost)))
        return
    costs: dict[int, Cost] = {}
    expected: dict[int, int] = {}
    for number in asked.numbers:
        known = {settings[other]: cost for other, cost in costs.items()}
        likely = expected_bytes(settings[number], known)
        if likely is not None and likely > MOST * free_bytes(asked.device):
            expected[number] = likely
            continue
        Console(stderr=True).print(f"measuring {number}: {' '.join(_cells(settings[number]))} …")
        costs[number] = measure(number, asked.quick, asked.seconds, asked.device)
    console = Console(highlight=False)
    console.width = console.width if console.is_terminal else 200
    console.print(f"{os.cpu_count()} cores, torch {torch.__version__}, {asked.device}")
    console.print(_table({number: settings[number] for number in asked.numbers}, costs, expected, asked.seconds))


def _quick(setting: Setting) -> Setting:
    # Training keeps its 16 clips apart from this: eight of them make the slow view.
    return dataclasses.replace(setting, videos=2, clips=2)


if __name__ == "__main__":
    main()

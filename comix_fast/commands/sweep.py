"""`comix sweep`: a grid of recipes, all heads trained together."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.commands.adapt import opened, run_name
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter
from comix_fast.stages import sweep as stage
from comix_fast.stages.bank import MemoryUse
from comix_fast.stages.stopping import Stop
from comix_fast.stages.sweep import Grid, Swept
from comix_fast.tables import sweep_table


def run(
    recipe: AdaptRecipe,
    grid: Grid,
    cache_path: Path,
    runs: Path,
    name: str | None,
    *,
    threads: int | None,
    device: str,
    memory: MemoryUse,
    reporter: Reporter,
    max_minutes: float | None = None,
) -> Swept:
    """Every point of the grid on one cache. max_minutes: how long it may take; raises OutOfTime then."""
    stop = Stop(max_minutes)
    set_threads(threads)
    cache = opened(cache_path, reporter)
    varied = {field: list(values) for field, values in grid.items()}
    root = runs / run_name(name, recipe, cache, "sweep", varied)
    reporter.say(f"sweep {root}")
    place = choose_device(device)
    return stage.run(recipe, grid, cache, root, reporter=reporter, device=place, memory=memory, stop=stop)


def to_json(swept: Swept) -> dict[str, Any]:
    """For --json: sweep.json with its folder."""
    return {"sweep": str(swept.root), **stage.to_json(swept)}


def closing(swept: Swept, cache: Path) -> RenderableType:
    """The table and what to do next."""
    found = stage.to_json(swept)
    lines = [f"sweep {swept.root}"]
    lines += [f"given up: {one['point']}, seed {one['seed']}: {one['reason']}" for one in found["given_up"]]
    if found["chosen_without_labels"]:
        run_folder = swept.root / found["chosen_without_labels"]
        where = f"--from-cache {shlex.quote(str(cache))} --run {shlex.quote(str(run_folder))}"
        lines.append(f"next: comix retrieve {where}")
    return Group(sweep_table(found), *(Text(line) for line in lines))

"""`comix compare`: methods × seeds on one cache, and what label-free scores would have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.choosing_table import choosing_table
from comix_fast.commands.adapt import opened, run_name
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.comparison.terminal import comparison_table
from comix_fast.console import Reporter
from comix_fast.stages import compare as stage
from comix_fast.stages.bank import MemoryUse
from comix_fast.stages.compare import Compared
from comix_fast.stages.compared import OURS, PUBLISHED, Method, Schedule
from comix_fast.stages.stopping import Stop


def run(
    methods: Sequence[Method],
    schedule: Schedule,
    cache_path: Path,
    runs: Path,
    name: str | None,
    *,
    threads: int | None,
    device: str,
    memory: MemoryUse,
    reporter: Reporter,
    max_minutes: float | None = None,
) -> Compared:
    """The methods on one cache. Methods and seeds do not name the folder, so more of either are added to it.

    max_minutes: how long it may take; raises OutOfTime then.
    """
    stop = Stop(max_minutes)
    set_threads(threads)
    place = choose_device(device)
    # Before anything is opened: values no run can have.
    ours, published = schedule.applied(OURS), schedule.applied(PUBLISHED)
    cache = opened(cache_path, reporter)
    other = {key: value for key, value in published.to_json().items() if key not in ("seed", "seeds")}
    root = runs / run_name(name, ours, cache, "compare", other)
    reporter.say(f"comparison {root}")
    return stage.run(methods, schedule, cache, root, reporter=reporter, device=place, memory=memory, stop=stop)


def to_json(compared: Compared) -> dict[str, Any]:
    """For --json: compare.json with its folder, and choosing.json in it."""
    return {"compare": str(compared.root), **stage.to_json(compared), "choosing": compared.study.to_json()}


def closing(compared: Compared) -> RenderableType:
    """Both tables, and where they are."""
    lines = [Text(note, style="dim") for note in compared.notes]
    files = ", ".join(path.name for path in compared.files)
    found = [Text(f"comparison {compared.root}: {files}")]
    return Group(comparison_table(compared.table), *lines, "", choosing_table(compared.study), "", *found)

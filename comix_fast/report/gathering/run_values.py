"""What a page says of one run, from the run's own files alone: its cache may be gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comix_fast.intervals import summarise
from comix_fast.report.gathering.accuracy import accuracy_rows
from comix_fast.report.gathering.curves import MOST_POINTS, curves, lacks_pseudo, was_thinned
from comix_fast.report.gathering.readings import Reading
from comix_fast.report.gathering.recipe_rows import recipe_rows
from comix_fast.report.gathering.unfinished import unfinished_note
from comix_fast.report.gathering.wording import (
    began_with,
    head_names,
    is_bound,
    is_imported,
    measured_text,
    method_text,
)
from comix_fast.stages.results import selection_text
from comix_fast.stages.road import ADAPT, WARMSTART
from comix_fast.stages.runs import SOURCE_ONLY


def run_values(reading: Reading, name: str) -> dict[str, Any]:
    """One entry of the page's "runs", without its map. name: what the run is called among those of the page."""
    run, heads, rows = reading.folder, reading.heads, accuracy_rows(reading)
    after = run.result if run.result in heads else (heads[-1] if heads else None)
    return {
        "name": name,
        "path": reading.shown,
        "method": method_text(run),
        "imported": is_imported(run),
        "bound": is_bound(run),
        "began_with": began_with(run),
        "source": run.meta["source"],
        "target": run.meta["target"],
        "measured_on": measured_text(run),
        "transductive": run.meta["transductive"],
        "n_labelled": run.meta["n_labelled"],
        "selection": selection_text(run.recipe.select_by),
        "warnings": [str(warning) for warning in run.meta["warnings"]],
        "notes": [*map(str, run.meta["notes"]), *_notes(reading)],
        "classes": list(reading.classes),
        "seeds": list(reading.seeds),
        "recipe": recipe_rows(run),
        "rows": rows,
        "gain": _gain(rows),
        "curves": curves(reading),
        "heads": heads,
        "head_names": head_names(run),
        "before": SOURCE_ONLY if SOURCE_ONLY in heads and after != SOURCE_ONLY else None,
        "after": after,
        "confusion": _confusion(reading),
        "map": None,
        "map_missing": None,
    }


def _confusion(reading: Reading) -> dict[str, Any] | None:
    """{"counts": head -> [seed] -> [true, predicted, count] of the pairs that occur}; None if no video is labelled."""
    found = reading.predictions.values()
    if not any(label >= 0 for one in found for label in one.labels):
        return None
    return {"counts": {head: [one.pairs(head) for one in found] for head in reading.heads}}


def _gain(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the last step of adaptation has over that of the warm-start, paired by seed: mean, half of its interval."""
    last = {row["phase"]: row["choices"]["last"]["values"] for row in rows}
    before, after = last.get(WARMSTART), last.get(ADAPT)
    if not before or not after or len(before) != len(after):
        return None
    over = summarise([late - early for early, late in zip(before, after, strict=True)])
    return {"mean": over.mean, "half_width": over.half_width}


def _notes(reading: Reading) -> list[str]:
    notes = []
    if reading.unfinished:
        notes.append(unfinished_note(reading))
    if lacks_pseudo(reading):
        notes.append(
            "coverage and precision of pseudo-labels were not logged by the comix-fast that made this run; "
            "adapt again under another --name to have them"
        )
    if was_thinned(reading):
        notes.append(f"curves show at most {MOST_POINTS} evaluations of each seed, evenly spaced")
    return notes

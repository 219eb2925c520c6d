"""A run's recipe and that of its features as rows of a table, and what several runs differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comix_fast.report.gathering.wording import began_with
from comix_fast.stages.runs import RunFolder

ABSENT = "—"
_GROUPS = {
    "head": ("head", "statistics", "hidden_dim", "dropout", "feature_norm", "precision"),
    "schedule": (
        "warmstart_iterations",
        "iterations",
        "batch_size",
        "lr",
        "momentum",
        "weight_decay",
        "label_smoothing",
        "eval_every",
        "seed",
        "seeds",
    ),
    "selection": ("select_by",),
}
Row = dict[str, str]


def recipe_rows(run: RunFolder) -> list[Row]:
    """name, value and group of every field: the recipe's as settled, then the features' ("clips.length" and so on).

    "start": the head it began with, of runs that began with one; device and versions: what else decides the heads.
    """
    group_of = {name: group for group, names in _GROUPS.items() for name in names}
    recipe = [
        {"name": name, "value": text(value), "group": group_of.get(name, "method")}
        for name, value in run.recipe.to_json().items()
    ]
    recipe += [
        {"name": name, "value": text(value), "group": group}
        for name, value, group in (
            ("start", began_with(run), "method"),
            ("device", run.meta.get("device", "cpu"), "schedule"),
            ("draws version", run.meta.get("draws", "1"), "schedule"),
            ("methods version", run.meta.get("methods", "1"), "schedule"),
        )
        if value is not None
    ]
    features: dict[str, Any] = {"source": run.meta["source"], "target": run.meta["target"]}
    # The recipe has a batch_size too.
    features |= {
        name if "." in name else f"features.{name}": value
        for name, value in _flat(run.meta.get("features") or {}).items()
    }
    features |= {f"video.{name}": value for name, value in _flat(run.meta.get("video") or {}).items()}
    if run.meta["cache_key"]:
        features["cache key"] = run.meta["cache_key"]
    below = [{"name": name, "value": text(value), "group": "features"} for name, value in features.items()]
    order = ("method", "head", "schedule", "selection")
    return [row for group in order for row in recipe if row["group"] == group] + below


def differences(recipes: Sequence[Sequence[Mapping[str, str]]]) -> dict[str, Any]:
    """fields: names that the runs do not agree on, with one value a run; n_same: how many they agree on.

    recipes: rows of each run. A field that a run does not have is a dash there. Of fewer than two runs: no fields.
    """
    if len(recipes) < 2:
        return {"fields": [], "n_same": len(recipes[0]) if recipes else 0}
    tables = [{row["name"]: row["value"] for row in rows} for rows in recipes]
    names = dict.fromkeys(name for table in tables for name in table)
    fields = []
    for name in names:
        values = [table.get(name, ABSENT) for table in tables]
        if len(set(values)) > 1:
            fields.append({"name": name, "values": values})
    return {"fields": fields, "n_same": len(names) - len(fields)}


def text(value: object) -> str:
    """A value of a recipe as it is shown: as JSON has it, lists with commas, yes and no."""
    if value is None:
        return "not settled"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return str(value)


def _flat(value: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Objects within objects as one, their names joined by dots."""
    found: dict[str, Any] = {}
    for name, below in value.items():
        path = f"{where}.{name}" if where else str(name)
        found |= _flat(below, path) if isinstance(below, Mapping) else {path: below}
    return found

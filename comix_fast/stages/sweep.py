"""A grid of recipes on one cache, all heads trained together; the point chosen without labels."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from comix_fast.cache.reader import FeatureCache
from comix_fast.config import AdaptRecipe
from comix_fast.console import Reporter
from comix_fast.errors import ComixError
from comix_fast.files import write_json
from comix_fast.stages import adapt, runs
from comix_fast.stages.adapt import Lost
from comix_fast.stages.runs import RunFolder
from comix_fast.unread import unread

SWEEP = "sweep.json"
MOST_HEADS = 4096
_NOT_IN_GRIDS = ("method", "reverse", "seed", "seeds", "precision", "eval_every", "select_by")

Grid = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Swept:
    """What a sweep did. points: folder name -> the values of the grid there; lost: seeds that were given up."""

    root: Path
    grid: Grid
    points: Mapping[str, Mapping[str, Any]]
    folders: tuple[RunFolder, ...]
    lost: tuple[Lost, ...]


def grid_names() -> list[str]:
    """The fields of a recipe that a grid may vary."""
    return [field.name for field in dataclasses.fields(AdaptRecipe) if field.name not in _NOT_IN_GRIDS]


def parse_grid(texts: Sequence[str]) -> Grid:
    """ "lambda_bgm=0.01,0.1" of each --grid, as values of the recipe's own types.

    Raises ComixError for a name that is none of a recipe's, a value of another type, or one given twice.
    """
    types = inspect.get_annotations(AdaptRecipe, eval_str=True)
    grid: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if name not in grid_names():
            raise ComixError(f"--grid {text!r}: there is no {name!r} to vary", hint=f"vary {', '.join(grid_names())}")
        if not equals or not values.strip():
            raise ComixError(f"--grid {text!r} has no values", hint=f"write --grid {name}=VALUE,VALUE")
        if name in grid:
            raise ComixError(f"--grid {name} is given twice", hint="list all its values in one")
        parsed = tuple(_value(name, types[name], value.strip()) for value in values.split(","))
        if len(set(parsed)) < len(parsed):
            raise ComixError(f"--grid {text!r} names a value twice")
        grid[name] = parsed
    if not grid:
        raise ComixError("a sweep needs a grid", hint="for example --grid lambda_bgm=0.01,0.1 --grid lr=0.01,0.003")
    return grid


def _value(name: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise ComixError(f"--grid {name}: {text!r} is none of {', '.join(map(str, get_args(kind)))}")
    if kind is bool:
        if text in ("true", "false"):
            return text == "true"
        raise ComixError(f"--grid {name}: {text!r} is neither true nor false")
    if isinstance(kind, UnionType):
        # None leaves the number to the command, and is not to be typed.
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    try:
        return kind(text)
    except ValueError as error:
        raise ComixError(f"--grid {name}: {text!r} is not a number of type {kind.__name__}") from error


def points(recipe: AdaptRecipe, grid: Grid) -> dict[str, AdaptRecipe]:
    """A recipe for every combination of the grid's values, by folder name. Raises ComixError for too many, and for a
    field that no point reads.
    """
    made = {}
    for values in itertools.product(*grid.values()):
        changes = dict(zip(grid, values, strict=True))
        made[",".join(f"{name}={value}" for name, value in changes.items())] = recipe.with_changes(changes)
    if idle := unread(grid, list(made.values())):
        raise ComixError(
            f"--grid {idle[0]} would change nothing at any point",
            hint="its head or method does not read it; add for example --head, --method or a λ",
        )
    if len(made) * recipe.seeds > MOST_HEADS:
        raise ComixError(
            f"{len(made):,} points of {recipe.seeds} seeds are {len(made) * recipe.seeds:,} heads",
            hint=f"at most {MOST_HEADS:,} in one sweep: leave out values or seeds",
        )
    return made


def run(recipe: AdaptRecipe, grid: Grid, cache: FeatureCache, root: Path, *, reporter: Reporter, **where: Any) -> Swept:
    """Every point of the grid into a run folder of its own below `root`, and `root`/sweep.json.

    where: as adapt.run_all takes it. Seeds whose loss is not finite are given up and the others go on.
    """
    recipes = points(recipe, grid)
    reporter.say(f"{len(recipes)} points, {recipe.seeds} seeds each: {len(recipes) * recipe.seeds} heads")
    folders, lost = adapt.run_all(
        {root / name: point for name, point in recipes.items()}, cache, reporter=reporter, **where
    )
    values = {name: {field: getattr(point, field) for field in grid} for name, point in recipes.items()}
    swept = Swept(root, grid, values, tuple(folders), tuple(lost))
    write_json(root / SWEEP, to_json(swept))
    return swept


def to_json(swept: Swept) -> dict[str, Any]:
    """The content of sweep.json: the grid, one entry per point, and the point chosen without labels."""
    given_up = [{"point": one.folder.root.name, "seed": one.seed, "reason": one.error.message} for one in swept.lost]
    entries = []
    for folder in swept.folders:
        name = folder.root.name
        done = not any(one["point"] == name for one in given_up)
        results = runs.read_json(folder.root / runs.RESULTS) if done else None
        entries.append({"point": name, "values": dict(swept.points[name]), "results": results})
    return {
        "grid": {name: list(values) for name, values in swept.grid.items()},
        "points": entries,
        "given_up": given_up,
        "select_by": swept.folders[0].recipe.select_by,
        "chosen_without_labels": chosen(entries),
    }


def chosen(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """The point whose heads have the highest mean label-free score at the step it selects; ties go to the earlier."""
    scores = {entry["point"]: label_free_score(entry["results"]) for entry in entries if entry["results"]}
    known = {name: score for name, score in scores.items() if score is not None}
    return max(known, key=lambda name: known[name]) if known else None


def label_free_score(results: Mapping[str, Any]) -> float | None:
    """The mean over seeds of the score that selects, at the step it selects, after the last phase."""
    values = results["rows"][-1]["selected"].get("score") or [None]
    return None if None in values else sum(values) / len(values)

"""`--from-run`: a run that begins with another's head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comix_fast.errors import ComixError
from comix_fast.stages.runs import RunFolder

OF_HEAD = ("head", "statistics", "hidden_dim", "feature_norm")
"""Fields of a recipe that the head of another run brings with it."""


def with_head_of(run: RunFolder, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of a recipe as typed, None where they were not, and those that the head of a run brings.

    Raises ComixError where the two contradict each other.
    """
    for name in OF_HEAD:
        if changes.get(name) not in (None, getattr(run.recipe, name)):
            raise ComixError(
                f"--{name.replace('_', '-')} {changes[name]} contradicts --from-run: its head has "
                f"{getattr(run.recipe, name)}",
                hint="leave it out, or begin with another run",
            )
    return {**changes, **{name: getattr(run.recipe, name) for name in OF_HEAD}}


def require_same_classes(run: RunFolder, classes: Sequence[str], where: str) -> None:
    """Raises ComixError unless a run's head tells these classes apart, in this order. where: what lists them."""
    known = [str(name) for name in run.meta["classes"]]
    if known != list(classes):
        raise ComixError(
            f"the head of {run.root} is for other classes than {where} lists",
            [f"the run's: {', '.join(known)}", f"here: {', '.join(classes)}"],
            hint="begin with a run of these classes, or without --from-run",
        )

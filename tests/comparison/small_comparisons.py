"""Comparisons small enough to work by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comix_fast.comparison import Cell, Comparison, MethodResult

LABELS = (0, 1, 0, 1)


def method(title: str, right: Mapping[int, Mapping[str, Sequence[int]]], **more: Any) -> MethodResult:
    """right: seed -> choice -> one 1 or 0 per video of LABELS, repeated: whether it is right."""
    return MethodResult(
        title,
        {seed: {choice: cell(marks) for choice, marks in choices.items()} for seed, choices in right.items()},
        **more,
    )


def cell(right: Sequence[int]) -> Cell:
    return Cell(tuple(LABELS[place % 4] if one else 1 - LABELS[place % 4] for place, one in enumerate(right)))


def same(right: Sequence[int], selected: Sequence[int] | None = None) -> dict[str, Sequence[int]]:
    """The three choices of one seed; equal ones unless told."""
    return {"last": right, "selected": selected or right, "oracle": right}


# Right answers out of 8: source-only 2 + 3, ours 4 + 3, by the step chosen without labels.
SOURCE_ONLY = method("source-only", {0: same([1, 0, 1, 0]), 1: same([1, 1, 1, 0])})
OURS = method("ours", {0: same([1, 0, 0, 0], [1, 1, 1, 1]), 1: same([1, 1, 0, 1])}, family="ours")
NEAREST = method("nearest mean", {0: {"last": [1, 1, 0, 0]}}, deterministic=True)
BOUND = method("target-supervised", {0: {"last": [1, 1, 1, 1]}, 1: {"last": [1, 1, 1, 1]}}, family="bound")


def comparison(methods: Mapping[str, MethodResult], **changes: Any) -> Comparison:
    fields: dict[str, Any] = {
        "labels": LABELS,
        "classes": ("push", "kick"),
        "baseline": "source-only",
        "seeds": (0, 1),
        "source": "set1",
        "target": "set2",
        "transductive": True,
        "selection": "infomax",
    }
    return Comparison(methods=methods, **{**fields, **changes})


def four() -> Comparison:
    return comparison({"source-only": SOURCE_ONLY, "nearest": NEAREST, "ours": OURS, "bound": BOUND})

"""How a page calls a run's heads and rows, and on what it says accuracy is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from comix_fast.stages.results import measured_on, method_name, row_names
from comix_fast.stages.road import WARMSTART
from comix_fast.stages.runs import LAST, SELECTED, SOURCE_ONLY, RunFolder
from comix_fast.stages.supervised import FOLDS

_SHORT = 12
"""Digits of a sha256 that tell heads apart."""
_BEGAN, _WARMED = "the head it began with", "the head after the warm-start"


def is_bound(run: RunFolder) -> bool:
    """Whether the run trains on the target's labels, to say what could be had with them."""
    return run.recipe.method == "target-supervised"


def is_imported(run: RunFolder) -> bool:
    """Whether the run was made of a model that was trained elsewhere: nothing of it was measured here."""
    return "imported" in run.meta


def head_names(run: RunFolder) -> dict[str, str]:
    """What each head is called. A run that began with another's head has none that saw the source alone."""
    if is_imported(run):
        # Which of its steps it is, no file of it says.
        return dict.fromkeys((SOURCE_ONLY, LAST, SELECTED), "the imported head")
    first = row_names(run.recipe)[WARMSTART]
    if began_with(run) is not None:
        first = _WARMED if run.recipe.warmstart_iterations else _BEGAN
    last = "target-supervised" if is_bound(run) else "last step"
    return {SOURCE_ONLY: first, LAST: last, SELECTED: "step chosen without labels"}


def head_labels(run: RunFolder) -> dict[str, str]:
    """What each head is, in a sentence over its map."""
    names = head_names(run)
    if is_imported(run):
        return names
    of_source = names[SOURCE_ONLY]
    if began_with(run) is None:
        before = "the head before adaptation, trained on the source"
        alone = "the head, trained on the source's labels"
        if run.recipe.feature_norm == "domain":
            alone += ", each domain standardised by its own"
        of_source = before if run.recipe.adapts else alone
    elif run.recipe.adapts:
        of_source = f"{of_source}, before adaptation"
    return {
        SOURCE_ONLY: of_source,
        LAST: "the head after adaptation, its last step",
        SELECTED: "the head after adaptation, its step chosen without labels",
    }


def phase_names(run: RunFolder) -> dict[str, str]:
    """What the rows of a run's table are called, by phase: as its terminal calls them, but for a head it began with."""
    names = row_names(run.recipe)
    return names if began_with(run) is None else names | {WARMSTART: head_names(run)[SOURCE_ONLY]}


def method_text(run: RunFolder) -> str:
    """The method in a word or two."""
    if is_bound(run) or run.recipe.adapts:
        return method_name(run.recipe)
    return method_name(run.recipe) if began_with(run) is None else head_names(run)[SOURCE_ONLY]


def began_with(run: RunFolder) -> str | None:
    """Whose head a run began with: "fwd (sha256 097b0ff4dac7)"; None where each seed drew its own."""
    start = run.meta.get("start")
    if start is None:
        return None
    asked = run.meta.get("asked")
    told = run.meta.get("from_run") or (asked.get("from_run") if isinstance(asked, Mapping) else None)
    sha256 = f"sha256 {str(start)[:_SHORT]}"
    # Its folder alone: a page is passed on, and paths are of the machine that it was made on.
    return sha256 if not told else f"{PurePath(str(told)).name} ({sha256})"


def measured_text(run: RunFolder) -> str:
    """On which videos accuracy is measured, and whether heads saw them in training."""
    meta: Mapping[str, Any] = run.meta
    if is_imported(run):
        return "nothing: the model was imported, and no accuracy came with it"
    if not is_bound(run) or not meta["n_labelled"]:
        return measured_on(meta)
    target, n_videos = meta["target"], meta["n_labelled"]
    if meta["transductive"]:
        folds = f"{min(FOLDS, n_videos)} folds, each predicted by a head trained on the labels of the others"
        return f"{n_videos:,} videos of {target}: {folds}"
    return f"{n_videos:,} videos of {target}: its test list; trained on the labels of {target}'s training videos"

"""What a seed needs to go on where it stopped: the last few checkpoints, each whole, the newest that can be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from comix_fast.errors import RunError
from comix_fast.files import remove_partial
from comix_fast.stages.runs import CHECKPOINT, CHECKPOINTS, load_tensors, save_tensors

KEPT = 2
"""How many are kept: one is enough unless a disk loses it."""
_NAME = re.compile(r"(\d{3,})-([a-z]+)-(\d+)\.safetensors")


class Checkpoint(NamedTuple):
    """Where a phase left off."""

    phase: str
    iteration: int
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one seed, in its folder.

    run: the run's identity; one of another run is refused. keep: how many are kept, at least one.
    """

    def __init__(self, seed_folder: Path, run: str, keep: int = KEPT) -> None:
        self._folder, self._run, self._keep = seed_folder / CHECKPOINTS, run, max(1, keep)
        # Of an earlier version of comix-fast, which kept one.
        self._old = seed_folder / CHECKPOINT

    def save(self, phase: str, iteration: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes one, whole, and lets the oldest go."""
        number = self._number(self._newest_first()[0]) + 1 if self._newest_first() else 0
        metadata = {"phase": phase, "iteration": str(iteration), "run": self._run}
        save_tensors(self._folder / f"{number:06}-{phase}-{iteration}.safetensors", tensors, metadata)
        for path in (*self._newest_first()[self._keep :], self._old):
            path.unlink(missing_ok=True)
        # Each as large as a backbone, where a run is killed again and again.
        remove_partial(self._folder)

    def latest(self, phase: str) -> Checkpoint | None:
        """The newest one, if it is of this phase; None if there is none, or if it is of another phase.

        One that can't be read is passed over for the one before it. Raises RunError if it belongs to another run, or if
        there are some and none of them can be read.
        """
        errors = []
        for path in (*self._newest_first(), *([self._old] if self._old.exists() else [])):
            try:
                tensors, metadata = load_tensors(path)
                found = Checkpoint(metadata["phase"], int(metadata["iteration"]), tensors)
            except (RunError, KeyError, ValueError) as error:
                errors.append(f"{path.name}: {error.message if isinstance(error, RunError) else error}")
                continue
            if metadata.get("run") != self._run:
                raise RunError(f"{path} belongs to another run", hint="delete it and start again")
            return found if found.phase == phase else None
        if errors:
            raise RunError(
                f"no checkpoint in {self._folder} can be read",
                errors,
                hint="delete that folder to begin this seed again",
            )
        return None

    def clear(self) -> None:
        """Deletes them all: the seed is finished."""
        for path in (*self._newest_first(), self._old):
            path.unlink(missing_ok=True)
        remove_partial(self._folder)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _newest_first(self) -> list[Path]:
        found = [path for path in self._folder.glob("*.safetensors") if _NAME.fullmatch(path.name)]
        return sorted(found, key=self._number, reverse=True)

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.name.split("-", 1)[0])

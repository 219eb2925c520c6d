"""What a run begins with instead of heads that its seeds draw: the head of another run."""

from __future__ import annotations

from dataclasses import dataclass

from comix_fast.backbones.state import state_sha256
from comix_fast.heads import Head
from comix_fast.stages.bank import Standardise
from comix_fast.stages.runs import RunFolder, SeedFolder


@dataclass(frozen=True, eq=False)
class Start:
    """The head of another run and how it standardises features.

    of_every_clip: false where it has learnt with statistics of some of a video's clips, see RunFolder.takes_every_clip.
    """

    head: Head
    norms: tuple[Standardise, Standardise]
    of_every_clip: bool = True

    @property
    def sha256(self) -> str:
        """Of the head's weights and the norms."""
        parts = enumerate(part for norm in self.norms for part in norm)
        return state_sha256({**self.head.state_dict(), **{f"norm {number}": part for number, part in parts}})


def handed_on(run: RunFolder) -> tuple[SeedFolder, str]:
    """The seed whose head and backbone a run hands on, and the name of both. Raises RunError if it is not finished."""
    seed = run.recipe.seed
    return run.seed(seed), run.final(seed)


def start_of(run: RunFolder) -> Start:
    """The head that a run hands on, and its norms. Raises RunError where there is none."""
    norms = run.load_norms()
    _, head = handed_on(run)
    of_every_clip = run.takes_every_clip or not run.recipe.pooled
    return Start(run.load_head(run.recipe.seed, head), (norms["source"], norms["target"]), of_every_clip)

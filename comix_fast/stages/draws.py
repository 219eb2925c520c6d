"""Stateless randomness of stage one: seed, video and view decide a draw; order and restarts do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comix_fast.errors import CacheError
from comix_fast.video import ClipPlan


@dataclass(frozen=True)
class MixDraw:
    """One draw of background mixing: whose background, its weight γ, and one start per bin."""

    donor: str
    gamma: float
    starts: tuple[int, ...]


def uniform(seed: int, video: str, view: str, name: str) -> float:
    """A number in [0, 1) decided by its arguments alone, the same on every machine and version."""
    text = "\0".join((str(seed), video, view, name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def draw_mix(
    plan: ClipPlan,
    video: str,
    view: str,
    donors: Sequence[str],
    usable: Callable[[str], bool],
    seed: int,
    gamma_max: float,
) -> MixDraw:
    """One candidate per bin, a donor among `donors`, γ ~ U(0, gamma_max): one of each per draw (CoMix, §3.2).

    donors: the training videos of the other domain, in the order of their list; one that is not usable (it
    could not be decoded) is passed over by drawing again. Raises CacheError if none is usable.
    """
    starts = tuple(
        starts[int(uniform(seed, video, view, f"bin {number}") * len(starts))]
        for number, starts in enumerate(plan.bins)
    )
    gamma = gamma_max * uniform(seed, video, view, "gamma")
    for attempt in range(8 * len(donors)):
        donor = donors[int(uniform(seed, video, view, f"donor {attempt}") * len(donors))]
        if usable(donor):
            return MixDraw(donor, gamma, starts)
    remaining = [donor for donor in donors if usable(donor)]
    if not remaining:
        raise CacheError(
            "no training video of the other domain could be read, so there is no background to mix in",
            hint="see the list of failed videos, or extract without bgmix views",
        )
    return MixDraw(remaining[0], gamma, starts)

"""What the iterations of one head draw, some dozens at a time: rows of features, labels, the clips of the slow view.

A draw is decided by the seed, the phase and the iteration, so a run that is resumed, or trained beside others, draws
what it would have drawn alone.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from comix_fast.stages.sampling import BatchOrder, draw_slow_clips, generator_for

CHUNK = 64
"""Iterations drawn at once: drawing one by one would cost a tenth of a step."""


class Drawn(NamedTuple):
    """The draws of CHUNK iterations: every tensor has them in front.

    rows: for each stream, in the order of `Draws.streams`, [CHUNK, b, B] int64 row numbers.
    labels: [CHUNK, b] int64, the source's; slow: [CHUNK, B] bool, None in the warm-start.
    """

    rows: tuple[Tensor, ...]
    labels: Tensor
    slow: Tensor | None


class Taken(Protocol):
    """Numbered rows of features, see comix_fast.cache.rows.Rows.take."""

    def take(self, index: Tensor) -> Tensor:
        """[…] int64 row numbers -> […, D]."""


class Stream(NamedTuple):
    """Where a stream's features come from. domain: 0 the source, 1 the target, for standardising."""

    features: Taken
    domain: int


class Bank(Protocol):
    """What is drawn from: the candidate clips of a list of videos, see FeatureBank."""

    @property
    def ids(self) -> tuple[str, ...]:
        """V names."""

    @property
    def labels(self) -> Tensor:
        """[V] int64."""

    @property
    def n_bins(self) -> int:
        """B clips are drawn of each video."""

    @property
    def n_mixes(self) -> int:
        """Draws of background mixing to choose among."""

    @property
    def clips(self) -> Taken:
        """Rows of every candidate clip."""

    @property
    def mixed(self) -> Taken | None:
        """Rows of background-mixed clips."""

    def candidate_rows(self, videos: Tensor, uniform: Tensor) -> Tensor:
        """One candidate of each bin: rows of `clips`, […, b, B]."""

    def mixed_pair(self, videos: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `clips` and of `mixed` at the same starts, […, b, B] each."""


class Pair(Protocol):
    """The two domains to draw from."""

    @property
    def source(self) -> Bank:
        """The labelled one."""

    @property
    def target(self) -> Bank:
        """The other."""


class Draws(Protocol):
    """The draws of one head in one phase."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Source, target, mixed source, mixed target, or the first of these."""

    def chunk(self, number: int) -> Drawn:
        """The draws of iterations number · CHUNK to (number + 1) · CHUNK − 1."""


class SupervisedDraws:
    """Batches of a labelled bank, one random candidate per bin: the warm-start's."""

    def __init__(self, bank: Bank, batch_size: int, seed: int, phase: str, domain: int = 0) -> None:
        self.streams: tuple[Stream, ...] = (Stream(bank.clips, domain),)
        self._bank, self._seed, self._phase = bank, seed, phase
        self._order = BatchOrder(len(bank.ids), batch_size, seed, phase)

    def chunk(self, number: int) -> Drawn:
        """See Draws."""
        generator = generator_for(self._seed, self._phase, "draws", number)
        videos = self._order.batches(number * CHUNK, CHUNK)
        rows = _candidates(self._bank, videos, generator)
        return Drawn((rows,), self._bank.labels[videos], None)


class AdaptationDraws:
    """A batch of each domain, with a mix of each video if asked. No label of the target is read."""

    def __init__(self, banks: Pair, batch_size: int, seed: int, mixing: bool) -> None:
        self._pair: tuple[Bank, Bank] = (banks.source, banks.target)
        self._seed, self._mixing = seed, mixing
        self.streams: tuple[Stream, ...] = tuple(Stream(bank.clips, domain) for domain, bank in enumerate(self._pair))
        if mixing:
            mixes = [(domain, bank.mixed) for domain, bank in enumerate(self._pair)]
            self.streams += tuple(Stream(mixed, domain) for domain, mixed in mixes if mixed is not None)
        self._orders = [
            BatchOrder(len(bank.ids), batch_size, seed, f"adapt {name}")
            for bank, name in zip(self._pair, ("source", "target"), strict=True)
        ]

    def chunk(self, number: int) -> Drawn:
        """See Draws."""
        generator = generator_for(self._seed, "adapt", "draws", number)
        slow = draw_slow_clips(self._pair[0].n_bins, CHUNK, generator)
        videos = [order.batches(number * CHUNK, CHUNK) for order in self._orders]
        plain, mixed = [], []
        for bank, picked in zip(self._pair, videos, strict=True):
            if self._mixing:
                # The mixed clips have starts of their own; the plain ones beside them are those at the same starts.
                draw = torch.randint(max(1, bank.n_mixes), picked.shape, generator=generator)
                pair = bank.mixed_pair(picked, draw)
                plain.append(pair[0])
                mixed.append(pair[1])
            else:
                plain.append(_candidates(bank, picked, generator))
        return Drawn((*plain, *mixed), self._pair[0].labels[videos[0]], slow)


def _candidates(bank: Bank, videos: Tensor, generator: torch.Generator) -> Tensor:
    return bank.candidate_rows(videos, torch.rand(*videos.shape, bank.n_bins, generator=generator))

"""Stateless draws of stage two: seed, purpose and iteration decide them, so a resumed run needs no random state."""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor

SLOW_SHARES = (0.25, 0.5, 0.75)


def derived_seed(*parts: object) -> int:
    """A 63-bit seed decided by its arguments alone."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(*parts: object) -> torch.Generator:
    """A CPU generator seeded by its arguments."""
    return torch.Generator().manual_seed(derived_seed(*parts))


class BatchOrder:
    """Which videos make which batch: every epoch a new order, whole batches only, as with drop_last.

    With fewer videos than the batch size a batch is all of them.
    """

    def __init__(self, n_videos: int, batch_size: int, seed: int, name: str) -> None:
        self._size = min(batch_size, n_videos)
        self._per_epoch = n_videos // self._size
        self._n_videos = n_videos
        self._epoch = functools.lru_cache(maxsize=1)(
            lambda epoch: torch.randperm(self._n_videos, generator=generator_for(seed, name, "epoch", epoch))
        )

    def batch(self, iteration: int) -> Tensor:
        """[b] int64 video numbers, all different."""
        epoch, place = divmod(iteration, self._per_epoch)
        order: Tensor = self._epoch(epoch)
        return order[place * self._size : (place + 1) * self._size]


def draw_slow_index(n_clips: int, generator: torch.Generator) -> Tensor:
    """The clips of the slow view: a quarter, half or three quarters of them with equal odds, one per bin.

    16 clips give 4, 8 or 12 (published code): 0 … n − 1 is split into that many bins as np.array_split does,
    and one index is drawn of each. Returns [n] int64, ascending.
    """
    share = SLOW_SHARES[int(torch.randint(len(SLOW_SHARES), (1,), generator=generator))]
    n_slow = max(1, round(n_clips * share))
    short, longer = divmod(n_clips, n_slow)
    numbers = torch.arange(n_slow)
    first = numbers * short + numbers.clamp_max(longer)
    size = short + (numbers < longer).long()
    return first + (torch.rand(n_slow, generator=generator) * size).long()

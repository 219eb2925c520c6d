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

    def batches(self, first: int, count: int) -> Tensor:
        """[count, b] int64 video numbers of the iterations from `first` on; those of one batch are all different."""
        picked = []
        for iteration in range(first, first + count):
            epoch, place = divmod(iteration, self._per_epoch)
            picked.append(self._epoch(epoch)[place * self._size : (place + 1) * self._size])
        return torch.stack(picked)


def draw_slow_clips(n_clips: int, count: int, generator: torch.Generator) -> Tensor:
    """Which clips the slow view has, drawn `count` times: a quarter, half or three quarters of them, one per bin.

    16 clips give 4, 8 or 12 with equal odds (published code): 0 … n − 1 is split into that many bins as
    np.array_split does, and one clip is drawn of each. Returns [count, n_clips] bool.
    """
    share = torch.randint(len(SLOW_SHARES), (count, 1), generator=generator)
    uniform = torch.rand(count, n_clips, generator=generator)
    chosen = torch.zeros(count, n_clips, dtype=torch.bool)
    for number, size in enumerate(SLOW_SHARES):
        n_slow = max(1, round(n_clips * size))
        short, longer = divmod(n_clips, n_slow)
        bins = torch.arange(n_slow)
        sizes = short + (bins < longer).long()
        place = torch.minimum((uniform[:, :n_slow] * sizes).long(), sizes - 1)
        index = bins * short + bins.clamp_max(longer) + place
        chosen |= torch.zeros_like(chosen).scatter_(1, index, True) & (share == number)
    return chosen

"""The candidate clips of a list of videos, by number: which rows make which bin of which video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comix_fast.cache.format import UNLABELLED


@dataclass(frozen=True)
class Candidates:
    """V videos, N candidate clips in all, numbered video by video in temporal order; B bins a video.

    ids: V names; labels: [V] int64, −1 where unlabelled.
    bin_first, bin_size: [V, B] int64, row of each bin's first candidate, the one that videos are tested on (published
        code), and how many candidates it has.
    """

    ids: tuple[str, ...]
    labels: Tensor
    bin_first: Tensor
    bin_size: Tensor

    @property
    def n_bins(self) -> int:
        """Clips drawn of each video."""
        return self.bin_first.shape[1]

    def candidate_rows(self, videos: Tensor, uniform: Tensor) -> Tensor:
        """One candidate of each bin (published code): row numbers, […, b, B] int64.

        videos: […, b] int64 numbers; uniform: […, b, B] float in [0, 1], which of a bin's candidates is taken.
        """
        size = self.bin_size[videos]
        # A product may round up to the size itself.
        return self.bin_first[videos] + torch.minimum((uniform * size).long(), size - 1)


class Labelled(Protocol):
    """A video of a list. label: a class's index, or None."""

    @property
    def label(self) -> int | None:
        """See the class."""


def bins_of(first: NDArray[np.int64], count: NDArray[np.int64], n_bins: int) -> tuple[Tensor, Tensor]:
    """bin_first and bin_size of videos whose candidates begin at row `first` and are `count`, [V] each.

    As np.array_split does: the first bins are longer by one if the split is uneven.
    """
    bins = np.arange(n_bins)
    share, longer = (part[:, None] for part in np.divmod(count, n_bins))
    bin_first = torch.from_numpy(first[:, None] + bins * share + np.minimum(bins, longer))
    return bin_first, torch.from_numpy(share + (bins < longer))


def labels_of(videos: Iterable[Labelled]) -> Tensor:
    """[V] int64, −1 where there is none."""
    labels = [UNLABELLED if video.label is None else video.label for video in videos]
    return torch.tensor(labels, dtype=torch.int64)

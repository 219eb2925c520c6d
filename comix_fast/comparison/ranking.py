"""Where a method stands among the others, draw by draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def mean_ranks(accuracies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean rank of each method over bootstrap draws.

    accuracies: [n, M] one row per draw, n at least 1.
    Returns [M] between 1 (best in every draw) and M; equal accuracies share the average of their ranks.
    """
    ranks = np.empty(accuracies.shape[1])
    for method, mine in enumerate(accuracies.T):
        better = (accuracies > mine[:, None]).sum(axis=1)
        equal = (accuracies == mine[:, None]).sum(axis=1) - 1
        ranks[method] = (1 + better + equal / 2).mean()
    return ranks

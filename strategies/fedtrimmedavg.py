"""FedTrimmedAvg: in every coordinate the mean of all but the smallest and the largest values.

Yin, Chen, Kannan & Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
Rates", ICML 2018, algorithm 1, option II.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.base.robust import Matrix, RobustStrategy


class FedTrimmedAvg(RobustStrategy):
    """wⱼ ← mean of wₖⱼ over k, without the f smallest and the f largest; tolerates f < n/2."""

    mean_at_zero = True

    def most_hostile(self, clients: int) -> int:
        """Return the largest f that leaves something to average."""
        return (clients - 1) // 2

    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the trimmed mean."""
        ordered = np.sort(heads, axis=0)
        mean: NDArray[np.float64] = ordered[hostile : len(heads) - hostile].mean(0)
        return mean


STRATEGY = FedTrimmedAvg

"""FedMedian: the coordinate-wise median of the clients' heads.

Yin, Chen, Kannan & Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical
Rates", ICML 2018, algorithm 1, option I.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.base.robust import Matrix, RobustStrategy


class FedMedian(RobustStrategy):
    """wⱼ ← median over k of wₖⱼ, in every coordinate j; tolerates f < n/2."""

    def most_hostile(self, clients: int) -> int:
        """Return the largest f below n/2."""
        return (clients - 1) // 2

    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the median."""
        median: NDArray[np.float64] = np.median(heads, axis=0)
        return median


STRATEGY = FedMedian

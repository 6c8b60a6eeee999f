"""Multi-Krum: the mean of the heads that lie nearest to most of the others.

Blanchard, El Mhamdi, Guerraoui & Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", NeurIPS 2017, section 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.base.robust import Matrix, RobustStrategy, krum_scores


class MultiKrum(RobustStrategy):
    """w ← mean of the n - f heads with the least Krum scores; n ≥ 2f + 3."""

    mean_at_zero = True

    def most_hostile(self, clients: int) -> int:
        """Return the largest f with n ≥ 2f + 3."""
        return (clients - 3) // 2

    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the mean of the chosen."""
        best = np.argsort(krum_scores(heads, hostile), kind="stable")[: len(heads) - hostile]
        mean: NDArray[np.float64] = heads[np.sort(best)].mean(0)
        return mean


STRATEGY = MultiKrum

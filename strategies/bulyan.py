"""Bulyan: heads that Krum chooses, then in every coordinate those around their median.

El Mhamdi, Guerraoui & Rouault, "The Hidden Vulnerability of Distributed Learning in Byzantium",
ICML 2018, section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.base.robust import Matrix, RobustStrategy, krum_scores


class Bulyan(RobustStrategy):
    """Krum takes θ = n - 2f heads out, one by one; wⱼ ← mean of the θ - 2f nearest their median.

    It needs n ≥ 4f + 3.
    """

    mean_at_zero = True

    def most_hostile(self, clients: int) -> int:
        """Return the largest f with n ≥ 4f + 3."""
        return (clients - 3) // 4

    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Choose, then trim around the median."""
        left, chosen = heads, []
        for _ in range(len(heads) - 2 * hostile):
            best = int(krum_scores(left, hostile).argmin())
            chosen.append(left[best])
            left = np.delete(left, best, axis=0)
        selected = np.stack(chosen)
        away = np.abs(selected - np.median(selected, axis=0))
        nearest = np.argsort(away, axis=0, kind="stable")[: len(selected) - 2 * hostile]
        mean: NDArray[np.float64] = np.take_along_axis(selected, nearest, axis=0).mean(0)
        return mean


STRATEGY = Bulyan

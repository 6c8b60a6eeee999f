"""Krum: the one head that lies nearest to most of the others.

Blanchard, El Mhamdi, Guerraoui & Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", NeurIPS 2017, section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.base.robust import Matrix, RobustStrategy, krum_scores


class Krum(RobustStrategy):
    """w ← wₖ whose sum of squared distances to its n - f - 2 nearest is least; n ≥ 2f + 3."""

    def most_hostile(self, clients: int) -> int:
        """Return the largest f with n ≥ 2f + 3."""
        return (clients - 3) // 2

    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the chosen head, of equals the first."""
        chosen: NDArray[np.float64] = heads[krum_scores(heads, hostile).argmin()]
        return chosen


STRATEGY = Krum

"""The geometric median of the clients' heads (RFA).

Pillutla, Kakade & Harchaoui, "Robust Aggregation for Federated Learning", IEEE Transactions on
Signal Processing 70, 2022, algorithm 2, the smoothed Weiszfeld algorithm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.base.robust import Matrix, RobustStrategy

_SMOOTHING = 1e-6
_PASSES = 1000
_TOLERANCE = 1e-10


class GeometricMedian(RobustStrategy):
    """w ← argmin_z Σₖ ‖z - wₖ‖, every client counting once; tolerates f < n/2.

    z ← Σ βₖ wₖ / Σ βₖ with βₖ = 1 / max(ν, ‖z - wₖ‖), until z moves by less than 10⁻¹⁰ of its
    median distance to the heads, or for 1,000 passes; ν = 10⁻⁶. It begins at the coordinate-wise
    median, as the mean may be so far away that nothing of the honest heads is left in its digits.
    """

    def most_hostile(self, clients: int) -> int:
        """Return the largest f below n/2."""
        return (clients - 1) // 2

    def combine(self, heads: Matrix, hostile: int) -> NDArray[np.float64]:
        """Return the median."""
        z: NDArray[np.float64] = np.median(heads, axis=0)
        for _ in range(_PASSES):
            distance = np.maximum(_SMOOTHING, np.sqrt(np.square(heads - z).sum(1)))
            beta = 1 / distance
            before, z = z, beta @ heads / beta.sum()
            if np.sqrt(np.square(z - before).sum()) <= _TOLERANCE * np.median(distance):
                break
        return z


STRATEGY = GeometricMedian

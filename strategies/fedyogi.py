"""FedYogi: Yogi at the server, whose second moment falls no faster than it rises.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar & McMahan, "Adaptive Federated Optimization",
ICLR 2021, algorithm 2.
"""

from __future__ import annotations

import numpy as np

from fedtl.options import Options
from strategies.base.adaptive import BETA2, Adaptive
from strategies.base.server_optimiser import Moment


class FedYogi(Adaptive):
    """v ← v - (1 - β₂) Δ² sign(v - Δ²),  w ← w + η m / (√v + τ).

    m ← β₁ m + (1 - β₁) Δ, where Δ is the mean change of clients that run SGD. See
    :class:`Adaptive` for the keys.
    """

    options = Options("server", beta2=BETA2)

    def second_moment(self, v: Moment, square: Moment) -> Moment:
        """Return the new v."""
        beta: float = self.options.beta2
        return v - (1 - beta) * square * np.sign(v - square)


STRATEGY = FedYogi

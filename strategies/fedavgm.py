"""FedAvgM: FedAvg whose server moves on with momentum.

Hsu, Qi & Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", 2019 (arXiv 1909.06335), section 4.3.
"""

from __future__ import annotations

from typing import ClassVar

from strategies.base import Range, Search
from strategies.base.server_optimiser import Moment, ServerOptimiser


class FedAvgM(ServerOptimiser):
    """v ← β v + Δ,  w ← w + η v, where Δ is the clients' mean change and v = 0 at first.

    β = ``server-momentum``, η = ``server-learning-rate``, by default 1; with β = 0 and η = 1 it is
    FedAvg.
    """

    search: ClassVar[Search] = {
        **ServerOptimiser.search,
        "server-learning-rate": Range(0.05, 2.0),
        "server-momentum": Range(0.0, 0.99, log=False),
    }

    moments = ("velocity",)

    def step(self, change: Moment, moments: dict[str, Moment]) -> Moment:
        """Return η v."""
        moments["velocity"] = self.config.server_momentum * moments["velocity"] + change
        return self.learning_rate * moments["velocity"]


STRATEGY = FedAvgM

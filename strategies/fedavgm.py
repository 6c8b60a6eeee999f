"""FedAvgM: FedAvg whose server moves on with momentum.

Hsu, Qi & Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", 2019 (arXiv 1909.06335), section 4.3.
"""

from __future__ import annotations

from strategies.base import Number, Options, Range
from strategies.base.server_optimiser import Moment, ServerOptimiser, server_learning_rate


class FedAvgM(ServerOptimiser):
    """v ← β v + Δ,  w ← w + η v, where Δ is the clients' mean change and v = 0 at first.

    β = ``server-momentum``, η = ``server-learning-rate``, by default 1; with β = 0 and η = 1 it is
    FedAvg.
    """

    options = Options(
        "server",
        learning_rate=server_learning_rate(Range(0.05, 2.0)),
        momentum=Number(
            0.9, "Server momentum.", low=0.0, high=0.999_999, tune=Range(0.0, 0.99, log=False)
        ),
    )

    moments = ("velocity",)

    def step(self, change: Moment, moments: dict[str, Moment]) -> Moment:
        """Return η v."""
        moments["velocity"] = self.options.momentum * moments["velocity"] + change
        return self.learning_rate * moments["velocity"]


STRATEGY = FedAvgM

"""What FedAdagrad, FedYogi and FedAdam share: Reddi et al., ICLR 2021, algorithm 2."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from strategies.base.search import Range, Search
from strategies.base.server_optimiser import Moment, ServerOptimiser


class Adaptive(ServerOptimiser):
    """m ← β₁ m + (1 - β₁) Δ,  v as the subclass says,  w ← w + η m / (√v + τ).

    m = 0 and v = τ² at first; there is no correction of their bias. β₁ = ``server-momentum``,
    β₂ = ``server-beta2``, τ = ``server-tau``, η = ``server-learning-rate``, by default 0.01
    (Adagrad's, whose steps only shrink, 0.03): every weight moves by about η a round, and the
    weights of a head on standardised features are some hundredths.
    """

    search: ClassVar[Search] = {
        **ServerOptimiser.search,
        "server-learning-rate": Range(1e-3, 1.0),
        "server-tau": Range(1e-5, 1e-1),
    }

    default_learning_rate = 0.01
    moments = ("m", "v")

    @abstractmethod
    def second_moment(self, v: Moment, square: Moment) -> Moment:
        """Return the new v from the old one and Δ²."""

    def first(self, moment: str) -> float:
        """Return 0 for m and τ² for v."""
        return self.config.server_tau**2 if moment == "v" else 0.0

    def step(self, change: Moment, moments: dict[str, Moment]) -> Moment:
        """Return η m / (√v + τ)."""
        beta = self.config.server_momentum
        moments["m"] = beta * moments["m"] + (1 - beta) * change
        moments["v"] = self.second_moment(moments["v"], np.square(change))
        return self.learning_rate * moments["m"] / (np.sqrt(moments["v"]) + self.config.server_tau)

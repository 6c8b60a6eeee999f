"""What FedAdagrad, FedYogi and FedAdam share: Reddi et al., ICLR 2021, algorithm 2."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from fedtl.options import Number, Option, Options, Range
from strategies.base.server_optimiser import Moment, ServerOptimiser, server_learning_rate

BETA2: Option = Number(0.99, "Beta 2 of the server's step.", low=0.0, high=0.999_999)


class Adaptive(ServerOptimiser):
    """m ← β₁ m + (1 - β₁) Δ,  v as the subclass says,  w ← w + η m / (√v + τ).

    m = 0 and v = τ² at first; there is no correction of their bias. β₁ = ``server-momentum``,
    β₂ = ``server-beta2``, τ = ``server-tau``, η = ``server-learning-rate``, by default 0.01
    (Adagrad's, whose steps only shrink, 0.03): every weight moves by about η a round, and the
    weights of a head on standardised features are some hundredths.
    """

    options = Options(
        "server",
        learning_rate=server_learning_rate(Range(1e-3, 1.0)),
        momentum=Number(0.9, "Beta 1 of the server's step.", low=0.0, high=0.999_999),
        tau=Number(
            1e-3, "Floor of the adaptive step.", above=0.0, high=1e3, tune=Range(1e-5, 1e-1)
        ),
    )

    default_learning_rate = 0.01
    moments = ("m", "v")

    @abstractmethod
    def second_moment(self, v: Moment, square: Moment) -> Moment:
        """Return the new v from the old one and Δ²."""

    def first(self, moment: str) -> float:
        """Return 0 for m and τ² for v."""
        return self.options.tau**2 if moment == "v" else 0.0

    def step(self, change: Moment, moments: dict[str, Moment]) -> Moment:
        """Return η m / (√v + τ)."""
        beta = self.options.momentum
        moments["m"] = beta * moments["m"] + (1 - beta) * change
        moments["v"] = self.second_moment(moments["v"], np.square(change))
        floor: float = self.options.tau
        return self.learning_rate * moments["m"] / (np.sqrt(moments["v"]) + floor)

"""FedAdagrad: a server whose steps shrink where changes have been large.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar & McMahan, "Adaptive Federated Optimization",
ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from strategies.base.adaptive import Adaptive
from strategies.base.server_optimiser import Moment


class FedAdagrad(Adaptive):
    """v ← v + Δ²,  w ← w + η m / (√v + τ).

    m ← β₁ m + (1 - β₁) Δ, where Δ is the mean change of clients that run SGD. See
    :class:`Adaptive` for the keys.
    """

    default_learning_rate = 0.03

    def second_moment(self, v: Moment, square: Moment) -> Moment:
        """Return the new v."""
        return v + square


STRATEGY = FedAdagrad

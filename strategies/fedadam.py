"""FedAdam: Adam at the server.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar & McMahan, "Adaptive Federated Optimization",
ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from fedtl.options import Options
from strategies.base.adaptive import BETA2, Adaptive
from strategies.base.server_optimiser import Moment


class FedAdam(Adaptive):
    """v ← β₂ v + (1 - β₂) Δ²,  w ← w + η m / (√v + τ).

    m ← β₁ m + (1 - β₁) Δ, where Δ is the mean change of clients that run SGD. See
    :class:`Adaptive` for the keys.
    """

    options = Options("server", beta2=BETA2)

    def second_moment(self, v: Moment, square: Moment) -> Moment:
        """Return the new v."""
        beta: float = self.options.beta2
        return beta * v + (1 - beta) * square


STRATEGY = FedAdam

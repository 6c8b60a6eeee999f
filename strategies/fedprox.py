"""FedProx: local steps that are held near the global head.

Li, Sahu, Zaheer, Sanjabi, Talwalkar & Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020, algorithm 2.
"""

from __future__ import annotations

from fedtl.transfer.client_block import ClientBlock
from strategies.base import Gradient, Number, Options, Range, Received, State
from strategies.fedavg import FedAvg


class FedProx(FedAvg):
    """Client k minimises Fₖ(w) + (μ/2) ‖w - wₜ‖² by SGD from wₜ; the server averages as FedAvg.

    μ = ``fedprox-mu``; with μ = 0 it is FedAvg.
    """

    options = Options(
        "fedprox",
        mu=Number(
            0.1, "Pull of clients to the global head.", low=0.0, high=1e6, tune=Range(1e-4, 10.0)
        ),
    )

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from the global head, and keep it in sight."""
        return {**super().client_init(received, block), "global": received.head}

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD along ∇Fₖ(w) + μ (w - wₜ)."""
        gradients = gradient(state["parameters"])
        for name, slope in gradients.items():
            slope.add_(state["parameters"][name] - state["global"][name], alpha=self.options.mu)
        self.sgd_step(state, gradients)


STRATEGY = FedProx

"""FedDyn: local objectives whose minimum agrees with the global one.

Acar, Zhao, Matas, Mattina, Whatmough & Saligrama, "Federated Learning Based on Dynamic
Regularization", ICLR 2021, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from fedtl.config import RunConfig
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors
from strategies.base import (
    Arrays,
    Gradient,
    IterativeStrategy,
    Range,
    Received,
    Reply,
    Search,
    State,
)
from strategies.base.averaging import as_head


class FedDyn(IterativeStrategy):
    """Client k minimises Fₖ(θ) - ⟨gₖ, θ⟩ + (α/2) ‖θ - θₜ‖² by SGD; then gₖ ← gₖ - α (θₖ - θₜ).

    The server: h ← h - (α/m) Σ (θₖ - θₜ),  θₜ₊₁ = (1/|P|) Σ θₖ - h/α, over the |P| of m clients
    that took part. gₖ and h are zero at first. α = ``feddyn-alpha``.
    """

    search: ClassVar[Search] = {
        **IterativeStrategy.search,
        "feddyn-alpha": Range(1e-4, 10.0),
    }

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._h: Arrays = {name: np.zeros(shape, np.float64) for name, shape in head.shapes.items()}

    # --- the server half ----------------------------------------------------------------------

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the plain mean less h/α."""
        total = {name: np.zeros(value.shape, np.float64) for name, value in head.items()}
        count = 0
        for reply in replies:
            count += 1
            for name, value in reply.arrays.items():
                total[name] += value
        if not count:
            return None
        alpha, clients = self.config.feddyn_alpha, self.config.clients
        for name, value in total.items():
            moved = value - count * head[name].astype(np.float64)
            self._h[name] = self._h[name] - alpha / clients * moved
        return as_head({n: value / count - self._h[n] / alpha for n, value in total.items()})

    def server_state(self) -> Arrays:
        """Return h."""
        return dict(self._h)

    def restore_server_state(self, state: Arrays) -> None:
        """Take h back."""
        self._h = dict(state)

    # --- the client half ----------------------------------------------------------------------

    @property
    def memory(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of gₖ."""
        return self.head.shapes

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from θₜ."""
        return {
            **super().client_init(received, block),
            "global": received.head,
            "linear": received.memory,
        }

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD along ∇Fₖ(θ) - gₖ + α (θ - θₜ)."""
        gradients = gradient(state["parameters"])
        for name, slope in gradients.items():
            away = state["parameters"][name] - state["global"][name]
            slope.sub_(state["linear"][name]).add_(away, alpha=self.config.feddyn_alpha)
        self.sgd_step(state, gradients)

    def client_memory(self, state: State) -> Tensors:
        """Return gₖ - α (θₖ - θₜ)."""
        return {
            name: state["linear"][name] - self.config.feddyn_alpha * (w - state["global"][name])
            for name, w in state["parameters"].items()
        }


STRATEGY = FedDyn

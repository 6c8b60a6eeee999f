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
from strategies.base.shares import SharedSum


class FedDyn(IterativeStrategy):
    """Client k minimises Fₖ(θ) - ⟨gₖ, θ⟩ + (α/2) ‖θ - θₜ‖² by SGD; then gₖ ← gₖ - α (θₖ - θₜ).

    The server: h ← h - (α/n) Σ nₖ (θₖ - θₜ),  θₜ₊₁ = Σ nₖ θₖ / Σ nₖ - h/α, over the clients that
    took part, with n = Σ nₖ over all (:class:`SharedSum` says how a server knows it). gₖ and h are
    zero at first. α = ``feddyn-alpha``. The paper weighs all clients alike, 1/m and 1/|P|, and so
    does ``feddyn-weights = clients``; by examples, the fixed point is the pooled data's optimum.

    gₖ is the gradient of Fₖ at θₖ only if the local problem is solved. SGD solves it to the part
    that (1 - ηα/(1-μ))ᴷ leaves after K steps: with the default α = 1, η = 0.01 and μ = 0.9 a tenth
    after 22 steps. A smaller α lets clients go farther in a round, and needs more ``local-epochs``;
    with α = 0.01 and one epoch gₖ and h gather what was never a gradient, and accuracy falls from
    round to round.
    """

    search: ClassVar[Search] = {
        **IterativeStrategy.search,
        "feddyn-alpha": Range(0.1, 10.0),
    }

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        by_examples = config.feddyn_weights == "examples"
        self._h = SharedSum(config.clients, by_examples=by_examples)

    # --- the server half ----------------------------------------------------------------------

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the weighted mean less h/α."""
        moved = {name: np.zeros(value.shape, np.float64) for name, value in head.items()}
        count, total = 0, 0.0
        for reply in replies:
            weight = self._h.weight(reply)
            count, total = count + 1, total + weight
            for name, value in reply.arrays.items():
                moved[name] += weight * (value - head[name].astype(np.float64))
        if not total:
            return None
        alpha = self.config.feddyn_alpha
        self._h.add({name: -alpha * value for name, value in moved.items()}, total, count)
        return as_head(
            {
                name: head[name] + value / total - self._h.mean(name) / alpha
                for name, value in moved.items()
            }
        )

    def server_state(self) -> Arrays:
        """Return h."""
        return self._h.state()

    def restore_server_state(self, state: Arrays) -> None:
        """Take h back."""
        self._h.restore(state)

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

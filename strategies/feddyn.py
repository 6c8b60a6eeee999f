"""FedDyn: local objectives whose minimum agrees with the global one.

Acar, Zhao, Matas, Mattina, Whatmough & Saligrama, "Federated Learning Based on Dynamic
Regularization", ICLR 2021, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors
from strategies.base import (
    Arrays,
    Choice,
    Gradient,
    Integer,
    IterativeStrategy,
    Number,
    Options,
    Range,
    Received,
    Reply,
    State,
)
from strategies.base.averaging import as_head
from strategies.base.shares import SharedSum, moved


class FedDyn(IterativeStrategy):
    """Client k minimises Fₖ(θ) - ⟨gₖ, θ⟩ + (α/2) ‖θ - θₜ‖² by SGD; then gₖ ← gₖ - α (θₖ - θₜ).

    The server: h ← h - (α/n) Σ nₖ (θₖ - θₜ),  θₜ₊₁ = Σ nₖ θₖ / Σ nₖ - h/α, over the clients that
    took part, with n = Σ nₖ over all (:class:`SharedSum` says how a server knows it). gₖ and h are
    zero at first. α = ``feddyn-alpha``. The paper weighs all clients alike, 1/m and 1/|P|, and so
    does ``feddyn-weights = clients``; by examples, the fixed point is the pooled data's optimum.

    gₖ is the gradient of Fₖ at θₖ only if the local problem is solved. So a client takes epochs
    until it has taken ``feddyn-steps``, however few its examples; ``local-epochs`` may be more.
    Momentum makes few steps worse than none: it swings about the local minimum with an amplitude
    of μ^(K/2) after K steps, 0.04 at μ = 0.9 and the default 60, but 0.5 after the dozen steps of
    one epoch of 400 examples. What θₖ then overshoots, h adds up: accuracy falls from round to
    round, most if clients are alike and overshoot together (IID, one epoch, α = 1: 77 % for 86).
    """

    options = Options(
        "feddyn",
        alpha=Number(
            0.3, "Regularisation of the clients.", above=0.0, high=1e6, tune=Range(0.03, 10.0)
        ),
        steps=Integer(
            60,
            "Fewest steps that a client takes on its local problem.",
            low=1,
            high=100_000,
            most_at_sites=1000,
        ),
        weights=Choice(
            "examples",
            "How clients are weighted in the mean head and its correction.",
            ("examples", "clients"),
        ),
    )

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        by_examples = self.options.weights == "examples"
        self._h = SharedSum(config.clients, by_examples=by_examples)

    # --- the server half ----------------------------------------------------------------------

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the weighted mean less h/α."""
        of_round = self._h.summed(replies, lambda reply: moved(reply, head))
        if of_round is None:
            return None
        alpha = self.options.alpha
        self._h.add({name: -alpha * value for name, value in of_round.changes.items()}, of_round)
        return as_head(
            {
                name: head[name] + value / of_round.weight - self._h.mean(name) / alpha
                for name, value in of_round.changes.items()
            }
        )

    def server_state(self) -> Arrays:
        """Return h."""
        return self._h.state()

    def restore_server_state(self, state: Arrays) -> None:
        """Restore h."""
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
            slope.sub_(state["linear"][name]).add_(away, alpha=self.options.alpha)
        self.sgd_step(state, gradients)

    def local_steps(self, of_epoch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return ``feddyn-steps`` or what ``local-epochs`` asks for, whichever is more."""
        fewest: int = self.options.steps
        return np.maximum(super().local_steps(of_epoch), fewest)

    def client_memory(self, state: State) -> Tensors:
        """Return gₖ - α (θₖ - θₜ)."""
        return {
            name: state["linear"][name] - self.options.alpha * (w - state["global"][name])
            for name, w in state["parameters"].items()
        }


STRATEGY = FedDyn

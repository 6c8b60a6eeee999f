"""SCAFFOLD: clients correct their steps for their own drift.

Karimireddy, Kale, Mohri, Reddi, Stich & Suresh, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", ICML 2020, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fedtl.config import RunConfig
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, Tensors
from strategies.base import (
    Arrays,
    Choice,
    Gradient,
    Number,
    Options,
    Range,
    Received,
    Reply,
    State,
)
from strategies.base.averaging import as_head
from strategies.base.momentum import WeighedSteps, total_weight
from strategies.base.shares import SharedSum, moved

_CHANGE = "control-change."


class Scaffold(WeighedSteps):
    """Client k steps along g(w) - cₖ + c; then cₖ⁺ = cₖ - c + (w - wₖ) / (ηₗ ‖aₖ‖₁).

    The server: w ← w + η Σ nₖ (wₖ - w) / Σ nₖ over the clients of the round S, and
    c ← (1/n) Σₖ nₖ cₖ over all N clients, where those that never trained have cₖ = 0: c moves by
    (n_S/n) Σ nₖ (cₖ⁺ - cₖ) / n_S with n_S = Σ nₖ over S. The paper weighs clients alike, by which
    n_S/n is its |S|/N; ``scaffold-weights = clients`` does so. By examples, its fixed point is the
    optimum of the pooled data, and not that of the mean client. How n is known under partial
    participation: see :class:`SharedSum`. η = ``server-learning-rate``, by default 1.

    cₖ⁺ is the paper's option II with ‖aₖ‖₁ in place of the number of steps K. Local steps have
    momentum μ, which begins at rest: gradient i = 0 … K-1 weighs aᵢ = (1 - μᴷ⁻ⁱ) / (1 - μ) in
    wₖ - w (:mod:`strategies.base.momentum`), so that cₖ⁺ is the a-weighted mean of the gradients
    g(w), weight decay included, on the way. With μ = 0 it is the paper's, word for word. Taken
    literally under momentum, option II divides by K what is up to K / (1 - μ) gradients: the
    variates are then up to ten times too long at μ = 0.9, overcorrect, and the run diverges or
    crawls. Other tools do that.
    """

    options = Options(
        "scaffold",
        weights=Choice(
            "examples",
            "How clients are weighted in the mean change and the control variate.",
            ("examples", "clients"),
        ),
    ) | Options(
        "server",
        learning_rate=Number(
            0.0, "Server learning rate; 0 is 1.", low=0.0, high=1e3, tune=Range(0.1, 2.0)
        ),
    )

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        by_examples = self.options.weights == "examples"
        self._control = SharedSum(config.clients, by_examples=by_examples)

    # --- the server half ----------------------------------------------------------------------

    @property
    def downlink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of c, which goes to every client with w."""
        return self.head.shapes

    def to_clients(self) -> Arrays:
        """Return c."""
        return as_head(
            {
                name: np.broadcast_to(self._control.mean(name), shape)
                for name, shape in self.head.shapes.items()
            }
        )

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Move w by the clients' weighted mean change, c by theirs."""

        def change(reply: Reply) -> Arrays:
            turned = {_CHANGE + name: reply.arrays[_CHANGE + name] for name in head}
            return {**moved(reply, head), **turned}

        of_round = self._control.summed(replies, change)
        if of_round is None:
            return None
        changes = of_round.changes
        self._control.add({name: changes[_CHANGE + name] for name in head}, of_round)
        rate = (self.options.learning_rate or 1.0) / of_round.weight
        return as_head({name: value + rate * changes[name] for name, value in head.items()})

    def server_state(self) -> Arrays:
        """Return c."""
        return self._control.state()

    def restore_server_state(self, state: Arrays) -> None:
        """Restore c."""
        self._control.restore(state)

    # --- the client half ----------------------------------------------------------------------

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of wₖ and of cₖ⁺ - cₖ."""
        changes = {_CHANGE + name: shape for name, shape in self.head.shapes.items()}
        return {**self.head.shapes, **changes}

    @property
    def memory(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of cₖ, which is zero at first."""
        return self.head.shapes

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from w, with the correction c - cₖ."""
        return {
            **super().client_init(received, block),
            "global": received.head,
            "correction": {n: c - received.memory[n] for n, c in received.server.items()},
            "control": received.memory,
        }

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD along g(w) - cₖ + c."""
        gradients = gradient(state["parameters"])
        for name, slope in gradients.items():
            slope.add_(state["correction"][name])
        self.sgd_step(state, gradients)

    def client_memory(self, state: State) -> Tensors:
        """Return cₖ⁺."""
        return {
            name: (state["global"][name] - w)
            / (self.config.learning_rate * total_weight(state["weight"], w))
            - state["correction"][name]
            for name, w in state["parameters"].items()
        }

    def client_final(self, state: State) -> Tensors:
        """Return wₖ and cₖ⁺ - cₖ."""
        changes = {
            _CHANGE + name: control - state["control"][name]
            for name, control in self.client_memory(state).items()
        }
        return {**state["parameters"], **changes}


STRATEGY = Scaffold

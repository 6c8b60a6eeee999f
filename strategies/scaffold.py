"""SCAFFOLD: clients correct their steps for their own drift.

Karimireddy, Kale, Mohri, Reddi, Stich & Suresh, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", ICML 2020, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch

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

_CHANGE = "control-change."


class Scaffold(IterativeStrategy):
    """Client k steps along g(w) - cₖ + c; then cₖ⁺ is the mean of its gradients g on the way.

    The server: w ← w + (η/|S|) Σ (wₖ - w),  c ← c + (1/N) Σ (cₖ⁺ - cₖ), over the |S| of N clients
    that took part. η = ``server-learning-rate``, by default 1.

    Without momentum the mean gradient is the paper's option II, cₖ - c + (w - wₖ) / (K ηₗ), term by
    term; unlike that it stays a gradient when local steps have momentum, which go along with the
    corrected gradient here.
    """

    search: ClassVar[Search] = {
        **IterativeStrategy.search,
        "server-learning-rate": Range(0.1, 2.0),
    }

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._control: Arrays = {
            name: np.zeros(shape, np.float64) for name, shape in head.shapes.items()
        }

    # --- the server half ----------------------------------------------------------------------

    @property
    def downlink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of c, which goes to every client with w."""
        return self.head.shapes

    def to_clients(self) -> Arrays:
        """Return c."""
        return as_head(self._control)

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Move w by the clients' plain mean change, c by the sum of theirs over N."""
        moved = {name: np.zeros(value.shape, np.float64) for name, value in head.items()}
        turned = {name: np.zeros(value.shape, np.float64) for name, value in head.items()}
        count = 0
        for reply in replies:
            count += 1
            for name in head:
                moved[name] += reply.arrays[name] - head[name].astype(np.float64)
                turned[name] += reply.arrays[_CHANGE + name]
        if not count:
            return None
        rate = (self.config.server_learning_rate or 1.0) / count
        for name, value in turned.items():
            self._control[name] = self._control[name] + value / self.config.clients
        return as_head({name: head[name] + rate * value for name, value in moved.items()})

    def server_state(self) -> Arrays:
        """Return c."""
        return dict(self._control)

    def restore_server_state(self, state: Arrays) -> None:
        """Take c back."""
        self._control = dict(state)

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
            "correction": {n: c - received.memory[n] for n, c in received.server.items()},
            "control": received.memory,
            "gradients": {name: torch.zeros_like(w) for name, w in received.head.items()},
            "count": {"steps": torch.zeros(len(block))},
        }

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD along g(w) - cₖ + c."""
        gradients = gradient(state["parameters"])
        state["count"]["steps"].add_(1)
        for name, slope in gradients.items():
            state["gradients"][name].add_(slope)
            slope.add_(state["correction"][name])
        self.sgd_step(state, gradients)

    def client_memory(self, state: State) -> Tensors:
        """Return cₖ⁺, the mean of the gradients."""
        return {
            name: total / _aligned(state["count"]["steps"], total)
            for name, total in state["gradients"].items()
        }

    def client_final(self, state: State) -> Tensors:
        """Return wₖ and cₖ⁺ - cₖ."""
        changes = {
            _CHANGE + name: control - state["control"][name]
            for name, control in self.client_memory(state).items()
        }
        return {**state["parameters"], **changes}


def _aligned(per_client: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Return a number per client in a shape that meets ``(C, ...)``."""
    return per_client.view(-1, *(1 for _ in tensor.shape[1:]))


STRATEGY = Scaffold

"""q-FedAvg: clients with a larger loss weigh more.

Li, Sanjabi, Beirami & Smith, "Fair Resource Allocation in Federated Learning", ICLR 2020,
algorithm 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from fedtl.transfer.scoring import score_clients
from strategies.base import Arrays, IterativeStrategy, Range, Received, Reply, Search, State
from strategies.base.averaging import as_head

_LOSS = "loss"


class QFedAvg(IterativeStrategy):
    """w ← w - Σ Fₖ^q Δₖ / Σ (q Fₖ^(q-1) ‖Δₖ‖² + L Fₖ^q), with Δₖ = L (w - wₖ) and L = 1/η.

    Fₖ is client k's mean training loss at w, η the clients' learning rate, q = ``qfedavg-q``. With
    q = 0 it is the plain mean of the clients.
    """

    search: ClassVar[Search] = {
        **IterativeStrategy.search,
        "qfedavg-q": Range(1e-3, 10.0),
    }

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the step of algorithm 2."""
        q, lipschitz = self.config.qfedavg_q, 1 / self.config.learning_rate
        total = {name: np.zeros(value.shape, np.float64) for name, value in head.items()}
        denominator = 0.0
        for reply in replies:
            # A loss of nought has no power below nought.
            loss = max(float(reply.arrays[_LOSS]), 1e-10)
            deltas = {n: lipschitz * (head[n].astype(np.float64) - reply.arrays[n]) for n in head}
            square = sum(float(np.square(delta).sum()) for delta in deltas.values())
            denominator += q * loss ** (q - 1) * square + lipschitz * loss**q
            for name, delta in deltas.items():
                total[name] += loss**q * delta
        if not denominator:
            return None
        return as_head({name: head[name] - value / denominator for name, value in total.items()})

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of wₖ and of Fₖ."""
        return {**self.head.shapes, _LOSS: ()}

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from w, whose loss on the training examples is taken first."""
        scores = score_clients(self.head, received.head, block, block.rows)
        losses = torch.tensor([score.loss for score in scores], dtype=torch.float32)
        return {**super().client_init(received, block), "loss": {_LOSS: losses}}

    def client_final(self, state: State) -> Tensors:
        """Return wₖ and Fₖ."""
        return {**state["parameters"], **state["loss"]}


STRATEGY = QFedAvg

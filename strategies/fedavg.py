"""FedAvg: clients run SGD, the server averages.

McMahan, Moore, Ramage, Hampson & Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from strategies.base import Arrays, IterativeStrategy, Reply, State


class FedAvg(IterativeStrategy):
    """w ← Σₖ (nₖ / n) wₖ, where client k took local epochs of SGD from w and has nₖ examples."""

    def aggregate(self, server_round: int, replies: Iterable[Reply]) -> Arrays | None:
        """Return the example-weighted mean, summed in float64 and in partition-id order."""
        total: Arrays = {}
        examples = 0
        for reply in replies:
            examples += reply.examples
            for name, value in reply.arrays.items():
                weighted = value * np.float64(reply.examples)
                if name in total:
                    total[name] += weighted
                else:
                    total[name] = weighted
        if not examples:
            return None
        return {name: (value / examples).astype(np.float32) for name, value in total.items()}

    def client_init(self, parameters: Tensors, block: ClientBlock) -> State:
        """Start from the global head, at rest."""
        return {
            "parameters": {name: value.clone() for name, value in parameters.items()},
            "velocity": {name: torch.zeros_like(value) for name, value in parameters.items()},
        }

    def client_step(self, state: State, gradients: Tensors) -> None:
        """v ← μ v + (g + λ w),  w ← w - η v  (the rule of ``torch.optim.SGD``)."""
        for name, gradient in gradients.items():
            w, v = state["parameters"][name], state["velocity"][name]
            gradient.add_(w, alpha=self.config.weight_decay)
            v.mul_(self.config.momentum).add_(gradient)
            w.sub_(v, alpha=self.config.learning_rate)

    def client_final(self, state: State) -> Tensors:
        """Send the trained head."""
        return state["parameters"]


STRATEGY = FedAvg

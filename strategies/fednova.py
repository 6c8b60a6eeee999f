"""FedNova: FedAvg of changes per step, so that who takes more steps does not pull further.

Wang, Liu, Liang, Joshi & Poor, "Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization", NeurIPS 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from strategies.base import Arrays, Gradient, IterativeStrategy, Received, Reply, State
from strategies.base.averaging import as_head, weighted_mean

_CHANGE = "normalised-change."
_WEIGHT = "step-weight"


class FedNova(IterativeStrategy):
    """w ← w + τ Σₖ pₖ (wₖ - w) / ‖aₖ‖₁ with τ = Σₖ pₖ ‖aₖ‖₁ and pₖ = nₖ / n.

    Client k's change is -η Σᵢ aₖᵢ gᵢ over its steps i; with momentum μ and K steps
    ‖aₖ‖₁ = Σᵢ (1 - μᴷ⁻ⁱ) / (1 - μ) for i = 0 … K-1, without momentum K. Where all take as many
    steps it is FedAvg.
    """

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Step by τ along the mean normalised change."""
        mean = weighted_mean(replies)
        if mean is None:
            return None
        tau = mean[_WEIGHT]
        return as_head({name: value + tau * mean[_CHANGE + name] for name, value in head.items()})

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of (wₖ - w) / ‖aₖ‖₁, and ‖aₖ‖₁ itself."""
        changes = {_CHANGE + name: shape for name, shape in self.head.shapes.items()}
        return {**changes, _WEIGHT: ()}

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from w; no step has weight yet."""
        return {
            **super().client_init(received, block),
            "global": received.head,
            "weight": {name: torch.zeros(len(block)) for name in ("of-step", "total")},
        }

    def client_step(self, state: State, gradient: Gradient) -> None:
        """Take a step of SGD, and add what all gradients so far weigh in it: 1 + μ + μ² + …"""
        weight = state["weight"]
        weight["of-step"].mul_(self.config.momentum).add_(1)
        weight["total"].add_(weight["of-step"])
        super().client_step(state, gradient)

    def client_final(self, state: State) -> Tensors:
        """Return the normalised change and ‖aₖ‖₁."""
        total = state["weight"]["total"]
        changes = {
            _CHANGE + name: (w - state["global"][name]) / total.view(-1, *(1 for _ in w.shape[1:]))
            for name, w in state["parameters"].items()
        }
        return {**changes, _WEIGHT: total}


STRATEGY = FedNova

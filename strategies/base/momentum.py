"""What each gradient weighs in a client's change, under momentum that begins every round at rest.

v ← μ v + g and w ← w - η v carry gradient i of K, i = 0 … K-1, into w with weight
aᵢ = 1 + μ + … + μᴷ⁻¹⁻ⁱ = (1 - μᴷ⁻ⁱ) / (1 - μ): the change is -η Σᵢ aᵢ gᵢ, which is η ‖a‖₁ times
the gradients' weighted mean. Without momentum ‖a‖₁ = K (Wang, Liu, Liang, Joshi & Poor, "Tackling
the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS 2020,
section 4).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from fedtl.transfer.minibatches import batch_width, steps_of
from strategies.base.halves import Received
from strategies.base.iterative import IterativeStrategy
from strategies.base.local_steps import State

# Weights are added up in float32.
_ROUNDING = 1e-3


class WeighedSteps(IterativeStrategy):
    """A strategy whose clients count ‖a‖₁ as they step: the group ``weight`` of their state."""

    def client_init(self, received: Received, block: ClientBlock) -> State:
        """Start from the global head; no step has weight yet."""
        weight = {name: torch.zeros(len(block)) for name in ("of-step", "total")}
        return {**super().client_init(received, block), "weight": weight}

    def wrong_weight(self, weight: float, examples: int) -> str:
        """Look at ‖a‖₁ that a client tells: that of one step at least, and at most of all of its.

        Args:
            weight: As it was told.
            examples: The client's training examples.
        """
        width = batch_width(examples, self.config.batch_size)
        steps = int(self.local_steps(steps_of(np.array([examples]), width))[0])
        momentum = self.config.momentum
        most = (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
        if 1 - _ROUNDING <= weight <= most * (1 + _ROUNDING):
            return ""
        return f"its steps weigh {weight:.3g}, but {examples:,} examples are {steps:,} steps"

    def sgd_step(self, state: State, gradients: Tensors, **groups: str) -> None:
        """Take the step, and add what all gradients so far weigh in it: 1 + μ + μ² + …"""
        weight = state["weight"]
        weight["of-step"].mul_(self.config.momentum).add_(1)
        weight["total"].add_(weight["of-step"])
        super().sgd_step(state, gradients, **groups)


def total_weight(weight: Tensors, beside: Tensor) -> Tensor:
    """Return ‖a‖₁ of each client in a shape that meets ``beside``, ``(C, ...)``."""
    return weight["total"].view(-1, *(1 for _ in beside.shape[1:]))

"""What each gradient weighs in a client's change, under momentum that begins every round at rest.

v ← μ v + g and w ← w - η v carry gradient i of K, i = 0 … K-1, into w with weight
aᵢ = 1 + μ + … + μᴷ⁻¹⁻ⁱ = (1 - μᴷ⁻ⁱ) / (1 - μ): the change is -η Σᵢ aᵢ gᵢ, which is η ‖a‖₁ times
the gradients' weighted mean. Without momentum ‖a‖₁ = K (Wang, Liu, Liang, Joshi & Poor, "Tackling
the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS 2020,
section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedtl.transfer.heads import Tensors


def at_rest(clients: int) -> Tensors:
    """Return the group of a state that counts ‖a‖₁ for C clients before their first step."""
    return {name: torch.zeros(clients) for name in ("of-step", "total")}


def count_step(weight: Tensors, momentum: float) -> None:
    """Add, in place, what all gradients so far weigh in one more step: 1 + μ + μ² + …"""
    weight["of-step"].mul_(momentum).add_(1)
    weight["total"].add_(weight["of-step"])


def total_weight(weight: Tensors, beside: Tensor) -> Tensor:
    """Return ‖a‖₁ of each client in a shape that meets ``beside``, ``(C, ...)``."""
    return weight["total"].view(-1, *(1 for _ in beside.shape[1:]))

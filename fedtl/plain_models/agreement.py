"""Whether two networks say the same: the difference of their logits, relative to their size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TOLERANCE = 1e-5
"""Of the largest difference of logits, relative to the largest logit."""


def gap(expected: Tensor, found: Tensor, size: float = float("inf")) -> float:
    """Return the largest difference, relative to the largest expected number; 0 if all are 0.

    Args:
        expected: Outputs of any shape, finite.
        found: Others of the same shape.
        size: What it is relative to, if the expected numbers are larger than what they stand for.
    """
    size = min(size, float(expected.abs().max()))
    largest = float((expected - found).abs().max())
    if largest == 0:
        return 0.0
    return largest / size if size else float("inf")


def outputs(module: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Return what a module says of a batch, without a graph."""
    with torch.no_grad():
        found: Tensor = module(*batch)
        return found

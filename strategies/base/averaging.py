"""Sums over replies, in float64 and in partition-id order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from strategies.base.halves import Arrays, Reply


def weighted_mean(replies: Iterable[Reply]) -> Arrays | None:
    """Return Σₖ (nₖ / n) xₖ, float64; ``None`` if there are no examples.

    Replies are added as they come, so that they need not all be in memory.
    """
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
    return {name: value / examples for name, value in total.items()} if examples else None


def as_head(arrays: Mapping[str, NDArray[np.floating]]) -> Arrays:
    """Return arrays in the precision in which heads are sent, float32."""
    return {name: value.astype(np.float32) for name, value in arrays.items()}

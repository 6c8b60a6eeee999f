"""A linear head in other coordinates: from features as they are to standardised ones."""

from __future__ import annotations

import numpy as np

from fedtl.transfer.standardisation import Standardisation
from strategies.base.strategy import Arrays

WARM_TEMPERATURE = 0.1
"""What the logits of a closed form are divided by before gradient steps: they lie about [0, 1],
where a softmax is flat."""


def in_standardised(arrays: Arrays, standardisation: Standardisation, temperature: float) -> Arrays:
    """Return the linear head that gives x's logits over ``temperature`` for standardised x.

    With z = (x - m) s, W x + b = (W / s) z + (b + W m). Where s is 0, z says nothing of the
    feature: s counts as 1.

    Args:
        arrays: ``weight`` ``(K, d)`` and ``bias`` ``(K,)`` of a head on features as they are.
        standardisation: Mean m and scale s, of d features.
        temperature: What logits are divided by; positive.

    Returns:
        The same names and shapes, float32, computed in float64.
    """
    weight = arrays["weight"].astype(np.float64)
    mean, scale = (
        value.astype(np.float64) for value in (standardisation.mean, standardisation.scale)
    )
    return {
        "weight": (weight / np.where(scale == 0, 1.0, scale) / temperature).astype(np.float32),
        "bias": ((arrays["bias"] + weight @ mean) / temperature).astype(np.float32),
    }

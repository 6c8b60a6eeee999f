"""The same head on features as they are and on standardised ones."""

from __future__ import annotations

import numpy as np

from fedtl.transfer.standardisation import Standardisation
from strategies.base.halves import Arrays

# Ridge logits estimate one-hot labels and lie about 0 to 1, where a softmax is nearly flat. 0.1 is
# what the code of Fed3R's authors (Fanì et al., ICML 2024) fine-tunes with; it scales every class's
# weights to length 1 first, which here would change the predictions, and so is left out.
WARM_TEMPERATURE = 0.1


def in_standardised(arrays: Arrays, standardisation: Standardisation, temperature: float) -> Arrays:
    """Return the head on z = (x - mean) · scale that has a head's logits on x over ``temperature``.

    W ← W / scale and b ← b + W·mean. A feature of scale 0 never varies: its weight becomes 0, and
    what it contributed to every logit is in the bias.

    Args:
        arrays: ``weight`` ``(K, d)`` and ``bias`` ``(K,)`` on unstandardised features.
        standardisation: Mean and scale of the d features.
        temperature: What the logits are divided by; positive.

    Returns:
        ``weight`` and ``bias``, float32.
    """
    weight = arrays["weight"].astype(np.float64)
    mean, scale = (
        value.astype(np.float64) for value in (standardisation.mean, standardisation.scale)
    )
    bias = arrays["bias"] + weight @ mean
    varies = scale > 0
    weight = np.where(varies, weight / np.where(varies, scale, 1.0), 0.0)
    return {
        "weight": (weight / temperature).astype(np.float32),
        "bias": (bias / temperature).astype(np.float32),
    }


def on_raw(arrays: Arrays, standardisation: Standardisation, *, weight: str, bias: str) -> Arrays:
    """Return the head on features as they are that a head on standardised ones amounts to.

    W ← W · scale and b ← b - W·mean, with the new W.

    Args:
        arrays: The head's, on standardised features.
        standardisation: Of those features.
        weight: Name of the array that meets the features, ``(…, d)``.
        bias: Name of the one that is added to that product.

    Returns:
        All arrays, float64.
    """
    raw: Arrays = {name: value.astype(np.float64) for name, value in arrays.items()}
    raw[weight] = raw[weight] * standardisation.scale
    raw[bias] = raw[bias] - raw[weight] @ standardisation.mean
    return raw

"""A ridge penalty from nothing but sums, by generalised cross-validation.

Golub, Heath & Wahba, "Generalized Cross-Validation as a Method for Choosing a Good Ridge
Parameter", Technometrics 21, 1979.
"""

from __future__ import annotations

import torch
from torch import Tensor

PENALTIES = 10.0 ** torch.linspace(-3, 2, 41, dtype=torch.float64)
"""The penalties per feature that are compared: eight a decade."""


def chosen_penalty(
    n: Tensor, correlation: Tensor, cross: Tensor, variance: Tensor, features: int
) -> float:
    """Return the penalty per feature, of :data:`PENALTIES`, with the least RSS / (n - df)².

    With G = n R for standardised features and B = n S their products with the centred one-hot
    labels Y, W = (G + λI)⁻¹B leaves RSS = tr YᵀY - 2 tr WᵀB + tr WᵀGW over all classes and takes
    df = tr G(G + λI)⁻¹ + 1 degrees of freedom, 1 for the intercept. One eigendecomposition of R
    gives both for every λ.

    It stands in for leaving out one example at a time, which sums cannot tell: 1 - hᵢ, hᵢ being how
    much a row pulls its own prediction, is put at its mean 1 - df/n. scikit-learn's ``RidgeCV``
    leaves out each row exactly; the choices are the same, or near, if no rows pull much harder than
    others.

    Args:
        n: Number of examples.
        correlation: R, shape ``(d, d)``.
        cross: S, shape ``(d, K)``.
        variance: tr YᵀY / n.
        features: How many features the penalty counts; those that vary.
    """
    values, vectors = torch.linalg.eigh(correlation)
    values = values.clamp_min(0)
    power = (vectors.T @ cross).square().sum(1)
    added = values + PENALTIES[:, None] * features / n
    rss = variance - 2 * (power / added).sum(1) + (power * values / added.square()).sum(1)
    free = 1 - ((values / added).sum(1) + 1) / n
    # More degrees of freedom than examples: no room is left to judge by.
    criterion = torch.where(free > 0, rss / free.square(), torch.inf)
    return float(PENALTIES[criterion.argmin()])

"""FedCGS: the Gaussian head of all data, from global feature statistics, in one round.

Guan, Zhou & Gu, "Capture Global Feature Statistics for One-Shot Federated Learning", AAAI 2025
(arXiv 2503.06962).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedtl.transfer.heads import Tensors
from fedtl.transfer.left_out import lda_left_out
from strategies.base import Arrays, LabelledRows
from strategies.base.second_moments import (
    Penalised,
    Standardised,
    leverage_arrays,
    leverage_shapes,
    standardised,
)
from strategies.fedncm import head_of_seen


class FedCGS(Penalised):
    """w_c = Σ⁻¹μ_c,  b_c = log π_c - ½ μ_cᵀΣ⁻¹μ_c: Bayes' rule for Gaussian classes of one Σ.

    Clients send what Fed3R's send: the second moments, and with the column of ones the feature and
    class sums and counts. Class means μ_c (about the mean of all examples, which changes no
    prediction), shares π_c = N_c / n and Σ = Σ_c π_c Σ_c come from them exactly.

    The authors' code puts the covariance of all examples about their one mean for Σ; here it is
    that of each class about its own, which the model asks for and the same sums tell: linear
    discriminant analysis. Σ gets a ridge of λd/n times each feature's variance, λ =
    ``ridge-penalty``: the penalty that Fed3R's system, divided by n, has (and with
    ``ridge-penalty-from = "gcv"`` the one that Fed3R would choose). A class without examples gets
    logits below the others' mean: see :func:`strategies.fedncm.head_of_seen`.
    """

    outputs = "log-odds"
    # They need no scaling.
    temperature = 1.0

    def solve_penalised(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return the head on unstandardised features, float64."""
        seen = pooled.share > 0
        share = torch.where(seen, pooled.share, 1.0)
        centres, system = _system(pooled, penalty)
        solution = self.solve_system(system, centres)
        weight = (pooled.scale[:, None] * solution).T.contiguous()
        bias = share.log() - (centres * solution).sum(0) / 2 - weight @ pooled.mean
        return head_of_seen(weight, bias, seen)

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """Σ⁻¹, of which the upper triangle, scaling, class means and counts."""
        features = self.width - 1
        shapes = leverage_shapes(features)
        return {**shapes, "centres": (features, self.classes), "counts": (self.classes,)}

    def leverage_of(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return them; the inverse is of nΣ with its ridge."""
        centres, system = _system(pooled, penalty)
        counts = (pooled.share * pooled.n).round()
        found = leverage_arrays(self, pooled, system)
        return {**found, "centres": centres.numpy(), "counts": counts.numpy()}

    def left_out(self, rows: LabelledRows, head: Tensors, leverage: Tensors) -> Tensor:
        """Return log-odds of the same scaling and penalty, each of all examples without a row."""
        z, inverse = standardised(rows, leverage)
        centres, counts = leverage["centres"].double().T, leverage["counts"].double()
        return lda_left_out(z, rows.labels, inverse, centres, counts, rows.groups)


def _system(pooled: Standardised, penalty: float) -> tuple[Tensor, Tensor]:
    """Return class means ``(d, K)`` and Σ with its ridge ``(d, d)``, standardised."""
    share = torch.where(pooled.share > 0, pooled.share, 1.0)
    centres = pooled.cross / share
    system = pooled.correlation - (centres * share) @ centres.T
    system.diagonal().add_(penalty / pooled.n)
    return centres, system


STRATEGY = FedCGS

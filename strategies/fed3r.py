"""Fed3R: the ridge-regression head of all data, from sums of per-client statistics, in one round.

Fanì, Camoriano, Caputo & Ciccone, "Accelerating Heterogeneous Federated Learning with Closed-form
Classifiers", ICML 2024 (arXiv 2406.01116), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Tensors
from fedtl.transfer.left_out import ridge_left_out
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Arrays, LabelledRows
from strategies.base.second_moments import (
    Penalised,
    Standardised,
    inverse_deviation,
    leverage_arrays,
    leverage_shapes,
    standardised,
    summed,
    varying,
)


class Fed3R(Penalised):
    """W = argmin Σᵢ ‖Wᵀ(zᵢ - μ)/σ + b - yᵢ‖² + λ d ‖W‖², with z d features and y one-hot labels.

    Client k sends Aₖ = ZₖᵀZₖ and Bₖ = ZₖᵀYₖ, with a column of ones joined to Z; the server solves
    with A = Σ Aₖ and B = Σ Bₖ in float64. The column of ones carries n, Σz and the class counts, so
    that mean μ, deviation σ and the unpenalised intercept b come from the same sums. The penalty
    λ = ``ridge-penalty`` counts per feature: the best total penalty grows with the number of
    features and not of examples (Hoerl, Kennard & Baldwin, Communications in Statistics 4, 1975:
    dσ²/‖W‖²), so one value serves 200 pictures and 20,000. With ``ridge-penalty-from = "gcv"`` the
    same sums choose it: see :func:`strategies.base.gcv.chosen_penalty`.
    """

    outputs = "least-squares"

    def solve_penalised(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return the head on unstandardised features, float64."""
        system = pooled.correlation.clone()
        system.diagonal().add_(penalty / pooled.n)
        weight = pooled.scale[:, None] * self.solve_system(system, pooled.cross)
        return _head(weight, pooled.mean, pooled.share)

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """The inverse of the system, of which the upper triangle, and how features are scaled."""
        return leverage_shapes(self.width - 1)

    def leverage_of(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return (Z̃ᵀZ̃ + λI)⁻¹, μ, 1/σ and n."""
        system = pooled.correlation.clone()
        system.diagonal().add_(penalty / pooled.n)
        return leverage_arrays(self, pooled, system)

    def left_out(self, rows: LabelledRows, head: Tensors, leverage: Tensors) -> Tensor:
        """Return the outputs of heads of the same scaling and penalty, each without a row."""
        outputs = rows.features @ head["weight"].double().T + head["bias"].double()
        z, inverse = standardised(rows, leverage)
        target = torch.nn.functional.one_hot(rows.labels, self.classes).double()
        return ridge_left_out(
            z,
            target,
            outputs,
            inverse,
            rows.groups,
            total=float(leverage["total"]),
            weights=leverage["weights"].double()[rows.labels] if "weights" in leverage else None,
        )

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Solve each client's own ridge system, in the smaller of its two forms.

        With Z̃ the standardised features, (Z̃ᵀZ̃ + λnI)⁻¹Z̃ᵀ = Z̃ᵀ(Z̃Z̃ᵀ + λnI)⁻¹: a client with fewer
        examples than features need not solve a system as large as the features. It chooses a
        penalty from its own sums if the federation does.
        """
        identity = Standardisation.identity(block.features.shape[1])
        heads = []
        for client, rows in enumerate(block.rows):
            if len(rows) > self.width or self.options.penalty_from != "fixed":
                arrays = self.solve(summed(block, client))
            else:
                arrays = self._solve_dual(block, rows)
            heads.append(AloneHead(arrays, identity))
        return heads

    def _solve_dual(self, block: ClientBlock, rows: NDArray[np.int64]) -> Arrays:
        index = torch.from_numpy(rows)
        z = block.features[index].double()
        y = torch.nn.functional.one_hot(block.labels[index], self.classes).double()
        mean, share = z.mean(0), y.mean(0)
        centred = z - mean
        scale = inverse_deviation(centred.square().mean(0), z.square().mean(0))
        scaled = centred * scale
        system = scaled @ scaled.T
        system.diagonal().add_(self.options.penalty * varying(scale))
        dual = self.solve_system(system, y - share)
        return _head(scale[:, None] * (scaled.T @ dual), mean, share)


def _head(weight: Tensor, mean: Tensor, share: Tensor) -> Arrays:
    """Return the head with W of shape (d, K) whose mean prediction is the mean label."""
    return {"weight": weight.T.contiguous().numpy(), "bias": (share - mean @ weight).numpy()}


STRATEGY = Fed3R

"""Personal ridge: Fed3R's head for all, and beside it one per client that leans on it.

Ridge regression towards a given head is Tikhonov's; that of a federation in its place is, for
least squares, what Ditto's (Li, Hu, Beirami & Smith, ICML 2021) clients approach by steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.left_out import left_out_residual
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Received
from strategies.base.second_moments import inverse_deviation, varying
from strategies.fed3r import Fed3R

_PENALTIES = 10.0 ** np.linspace(-4, 2, 13)


class PersonalRidge(Fed3R):
    """Wₖ = (Gₖ + λₖdI)⁻¹(Bₖ + λₖd W̄): client k's least squares, held near Fed3R's head W̄.

    Gₖ = Z̃ₖᵀZ̃ₖ and Bₖ = Z̃ₖᵀYₖ are of the client's own d features, which it standardises for itself,
    and W̄ is in the same coordinates. The intercept is the client's own and goes unpenalised: so its
    case mix is right however large λₖ is. λₖ is one of 13 values from 10⁻⁴, the client's own least
    squares, to 100, nearly W̄'s weights; or the client keeps W̄ and its intercept as they are (∞).

    The client takes what has the least squared error on rows left out of Gₖ and Bₖ, one at a time,
    or group by group if rows belong together, such as a patient's. It is exact: with Hₖ the hat
    matrix, rows g left out have the residuals (I - H_gg)⁻¹ (Y - HY)_g. W̄ has seen all rows and is
    taken as given, a small favour to it. Clients with one row, or one group, use W̄.

    Nothing is sent but what Fed3R's clients send: Wₖ, and λₖ too, stay at the client.
    """

    own_heads = True

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Return Wₖ."""
        identity = Standardisation.identity(block.features.shape[1])
        heads = []
        for client, rows in enumerate(block.rows):
            index = torch.from_numpy(rows)
            z = block.features[index].double()
            weight, bias = received.head["weight"][client], received.head["bias"][client]
            onehot = torch.nn.functional.one_hot(block.labels[index], self.classes).double()
            residual = onehot - z @ weight.double().T - bias.double()
            groups = None if block.groups is None else block.groups[rows]
            change = correction(z, residual, groups)
            heads.append(
                AloneHead(
                    {
                        "weight": (weight.double() + change["weight"]).numpy(),
                        "bias": (bias.double() + change["bias"]).numpy(),
                    },
                    identity,
                )
            )
        return heads


def correction(z: Tensor, residual: Tensor, groups: NDArray[np.int64] | None) -> dict[str, Tensor]:
    """Return what to add to a head for one client's rows, float64.

    Args:
        z: The client's features, shape ``(n, d)``, float64.
        residual: One-hot labels less the head's outputs, shape ``(n, K)``.
        groups: Which rows belong together, shape ``(n,)``; ``None`` if each stands for itself.

    Returns:
        ``weight`` ``(K, d)`` and ``bias`` ``(K,)``: zero if the head is best as it is.
    """
    none = {
        "weight": torch.zeros(residual.shape[1], z.shape[1], dtype=torch.float64),
        "bias": torch.zeros(residual.shape[1], dtype=torch.float64),
    }
    if len(z if groups is None else np.unique(groups)) < 2:
        return none
    fit = _Fit.of(z, residual)
    least, chosen = float(residual.square().sum()), 0.0
    for penalty in _PENALTIES[::-1] * fit.features:
        error = fit.left_out_error(penalty, groups)
        if error < least:
            least, chosen = error, penalty
    return fit.head(chosen) if chosen else none


@dataclass(frozen=True)
class _Fit:
    """Ridge regressions of residuals on one client's features, for any penalty.

    Attributes:
        mean: Mean feature vector, shape ``(d,)``.
        scale: Inverse deviations, shape ``(d,)``.
        left, size, right: The singular value decomposition of the standardised features.
        residual: Shape ``(n, K)``.
    """

    mean: Tensor
    scale: Tensor
    left: Tensor
    size: Tensor
    right: Tensor
    residual: Tensor

    @classmethod
    def of(cls, z: Tensor, residual: Tensor) -> _Fit:
        """Return it for features as they are."""
        mean = z.mean(0)
        centred = z - mean
        scale = inverse_deviation(centred.square().mean(0), z.square().mean(0))
        left, size, right = torch.linalg.svd(centred * scale, full_matrices=False)
        return cls(mean, scale, left, size, right, residual)

    @property
    def features(self) -> int:
        """How many features vary; 1 at least."""
        return varying(self.scale)

    def left_out_error(self, penalty: float, groups: NDArray[np.int64] | None) -> float:
        """Return the summed squared error on rows, each left out of the fit, or each group."""
        shrunk = self.size.square() / (self.size.square() + penalty)
        off = self.residual - self.residual.mean(0)
        off = off - self.left @ (shrunk[:, None] * (self.left.T @ off))
        without = left_out_residual(self.left, self.left * shrunk, off, groups, len(off))
        return float(without.square().sum())

    def head(self, penalty: float) -> dict[str, Tensor]:
        """Return weight and bias on features as they are."""
        shrunk = self.size / (self.size.square() + penalty)
        weight = self.right.T @ (shrunk[:, None] * (self.left.T @ self.residual))
        weight = (self.scale[:, None] * weight).T
        return {"weight": weight, "bias": self.residual.mean(0) - weight @ self.mean}


STRATEGY = PersonalRidge

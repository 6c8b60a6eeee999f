"""Sums over labelled rows that determine ridge regression and linear discriminant analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.transfer.left_out import lda_left_out, ridge_left_out

# The prior of a class without examples; it is never the likeliest.
_UNSEEN_SHARE = 1e-9


@dataclass(frozen=True)
class ClassMoments:
    """What ridge regression and discriminant analysis are solved from.

    Attributes:
        count: Rows, n.
        mean: Shape ``(r,)``.
        covariance: Shape ``(r, r)``.
        share: Of each class, shape ``(K,)``.
        cross: Covariances with the one-hot labels, shape ``(r, K)``.
    """

    count: int
    mean: Tensor
    covariance: Tensor
    share: Tensor
    cross: Tensor

    @classmethod
    def of(cls, x: Tensor, labels: Tensor, classes: int) -> ClassMoments:
        """Return those of standardised rows, or most of them: the mean is small."""
        onehot = torch.nn.functional.one_hot(labels, classes).double()
        mean, share = x.mean(0), onehot.mean(0)
        return cls(
            count=len(x),
            mean=mean,
            covariance=x.T @ x / len(x) - torch.outer(mean, mean),
            share=share,
            cross=x.T @ onehot / len(x) - torch.outer(mean, share),
        )

    def without(self, part: ClassMoments) -> ClassMoments:
        """Return those of the rows that are not in a part of them."""
        count = self.count - part.count
        whole, less = self.count / count, part.count / count
        apart, share_apart = part.mean - self.mean, part.share - self.share
        # Whole numbers: a class that is in the part alone has no rows left, not nearly none.
        of_classes = (self.share * self.count).round() - (part.share * part.count).round()
        turn = -whole * less

        def rest(of_all: Tensor, of_part: Tensor) -> Tensor:
            return (of_all * whole).sub_(of_part, alpha=less)

        return ClassMoments(
            count=count,
            mean=rest(self.mean, part.mean),
            covariance=rest(self.covariance, part.covariance).addr_(apart, apart, alpha=turn),
            share=of_classes / count,
            cross=rest(self.cross, part.cross).addr_(apart, share_apart, alpha=turn),
        )

    def solved(self, method: Literal["ridge", "lda"], penalty: float) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a method that has a closed form."""
        return self.ridge(penalty) if method == "ridge" else self.lda(penalty)

    def ridge(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the heads that Fed3R solves for."""
        weight = self._solve(self.covariance, penalty, self.cross)
        return weight, self.share - weight @ self.mean

    def lda(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the heads that FedCGS solves for."""
        centres, within = self._classes()
        weight = self._solve(within, penalty, centres)
        prior = torch.where(self.share > 0, self.share, _UNSEEN_SHARE).log()
        bias = prior - (weight.T * centres).sum(0) / 2
        return weight, bias - weight @ self.mean

    def left_out(
        self,
        z: Tensor,
        labels: Tensor,
        groups: NDArray[np.int64] | None,
        method: Literal["ridge", "lda"],
        penalty: float,
        outputs: Tensor,
    ) -> Tensor:
        """Return what the head of a method says of its rows, less their mean, each left out."""
        unit = torch.eye(z.shape[1], dtype=torch.float64)
        if method == "ridge":
            inverse = self._solve(self.covariance, penalty, unit) / self.count
            target = torch.nn.functional.one_hot(labels, len(self.share)).double()
            return ridge_left_out(z, target, outputs, inverse, groups, total=self.count)
        centres, within = self._classes()
        inverse = self._solve(within, penalty, unit) / self.count
        counts = (self.share * self.count).round()
        return lda_left_out(z, labels, inverse, centres.T, counts, groups)

    def _classes(self) -> tuple[Tensor, Tensor]:
        """Return class means less the mean ``(r, K)``, and the covariance about them."""
        centres = self.cross / torch.where(self.share > 0, self.share, 1.0)
        return centres, self.covariance - (centres * self.share) @ centres.T

    def _solve(self, system: Tensor, penalty: float, right: Tensor) -> Tensor:
        system = system.clone()
        system.diagonal().add_(penalty / self.count)
        solution: Tensor = torch.cholesky_solve(right, torch.linalg.cholesky(system)).T
        return solution

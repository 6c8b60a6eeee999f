"""Closed forms from sums of second moments, what such sums say, and what is solved from them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.errors import ImpossibleTotalError, UsageError
from fedtl.options import Choice, Number, Options, Range
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, LinearHead, Tensors
from strategies.base.closed_form import ClosedFormStrategy
from strategies.base.gcv import chosen_penalty
from strategies.base.halves import Arrays, LabelledRows
from strategies.base.plausible import Told, wrong_gram

_CHUNK = 2048


class LinearClosedForm(ClosedFormStrategy):
    """A strategy whose closed form is a linear head.

    Attributes:
        width: Features and the column of ones that is joined to them.
        classes: Number of classes K.
    """

    def __init__(self, config: RunConfig, head: Head) -> None:
        if not isinstance(head, LinearHead):
            raise UsageError(
                f"strategy = {config.strategy!r} solves for a linear head; head = {config.head!r} "
                "has no closed form, so use head = 'linear' or an iterative strategy such as "
                "fedavg."
            )
        super().__init__(config, head)
        self.width = head.features + 1
        self.classes = head.classes


class SecondMoments(LinearClosedForm):
    """Clients send A = ZᵀZ and B = ZᵀY, with a column of ones joined to Z."""

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """A is symmetric: only its upper triangle, row by row, leaves."""
        return {
            "gram": (self.width * (self.width + 1) // 2,),
            "class-sums": (self.width, self.classes),
        }

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at A and B: see :func:`wrong_gram`."""
        gram = symmetric(arrays["gram"], self.width).numpy()
        return wrong_gram(gram, arrays["class-sums"], told)

    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return A's upper triangle and B, float64."""
        return summed(block, client)


class Penalised(SecondMoments):
    """A closed form with a ridge penalty: ``ridge-penalty``, or one that the sums choose."""

    options = Options(
        "ridge",
        penalty=Number(
            0.5,
            "Ridge penalty per feature, on standardised features.",
            above=0.0,
            high=1e6,
            tune=Range(1e-3, 1e2),
        ),
        penalty_from=Choice(
            "fixed",
            "fixed: ridge-penalty; gcv: chosen from the sums by generalised cross-validation.",
            ("fixed", "gcv"),
        ),
    )

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        self._chosen = 0.0

    @abstractmethod
    def solve_penalised(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return the head on unstandardised features, float64, for λd = ``penalty``."""

    @abstractmethod
    def leverage_of(self, pooled: Standardised, penalty: float) -> Arrays:
        """Return the arrays that :attr:`leverage` names."""

    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head on unstandardised features, float64."""
        pooled = Standardised.of(statistics)
        return self.solve_penalised(pooled, self.per_feature(pooled) * pooled.features)

    def conclude(self, total: Arrays) -> Arrays:
        """Return the head of all, and remember its penalty."""
        pooled = Standardised.of(total)
        self._chosen = self.per_feature(pooled)
        penalty = self._chosen * pooled.features
        if self.leaves_out:
            found = self.leverage_of(pooled, penalty)
            self._leverage = {name: found[name].astype(np.float32) for name in self.leverage}
        return self.solve_penalised(pooled, penalty)

    def per_feature(self, pooled: Standardised) -> float:
        """Return λ: as configured, or by generalised cross-validation."""
        if self.options.penalty_from == "fixed":
            return float(self.options.penalty)
        variance = 1 - pooled.share.square().sum()
        return chosen_penalty(pooled.n, pooled.correlation, pooled.cross, variance, pooled.features)

    def solve_system(self, system: Tensor, right: Tensor) -> Tensor:
        """Return the solution of a system that the ridge penalty makes positive definite."""
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            raise ImpossibleTotalError(
                "What clients sent does not add up to sums of any features, although each client's "
                f"own does: ridge-penalty = {self.options.penalty:g} is lost in their "
                "rounding; use a larger penalty."
            )
        return torch.cholesky_solve(right, factor)

    @property
    def note(self) -> str:
        """Tell the penalty that the sums chose."""
        if self.options.penalty_from == "fixed" or not self._chosen:
            return ""
        return f"Generalised cross-validation chose ridge-penalty = {self._chosen:.3g}."

    def server_state(self) -> Arrays:
        """Return the penalty that was chosen, which a resumed run tells as well."""
        return {**super().server_state(), "penalty": np.array([self._chosen])}

    def restore_server_state(self, state: Arrays) -> None:
        """Restore it."""
        super().restore_server_state(state)
        self._chosen = float(state["penalty"][0])


@dataclass(frozen=True)
class Standardised:
    """What the sums of :class:`SecondMoments` say of standardised features.

    Attributes:
        n: Number of examples.
        mean: Mean feature vector, shape ``(d,)``.
        scale: Inverse deviations, shape ``(d,)``; 0 where a feature never varies.
        share: Each class's share of the examples, shape ``(K,)``.
        correlation: Correlations of the features, shape ``(d, d)``.
        cross: Covariances of standardised features and one-hot labels, shape ``(d, K)``.
    """

    n: Tensor
    mean: Tensor
    scale: Tensor
    share: Tensor
    correlation: Tensor
    cross: Tensor

    @property
    def features(self) -> int:
        """How many features vary; 1 at least."""
        return varying(self.scale)

    @classmethod
    def of(cls, statistics: Arrays) -> Standardised:
        """Return it for summed statistics."""
        sums = torch.from_numpy(statistics["class-sums"])
        gram = symmetric(statistics["gram"], len(sums))
        n = gram[-1, -1]
        mean, share = gram[-1, :-1] / n, sums[-1] / n
        covariance = gram[:-1, :-1] / n - torch.outer(mean, mean)
        cross = sums[:-1] / n - torch.outer(mean, share)
        scale = inverse_deviation(covariance.diagonal(), gram.diagonal()[:-1] / n)
        return cls(
            n=n,
            mean=mean,
            scale=scale,
            share=share,
            correlation=covariance * torch.outer(scale, scale),
            cross=cross * scale[:, None],
        )


def leverage_shapes(features: int) -> dict[str, tuple[int, ...]]:
    """Return the form of what tells a row's pull in d standardised features."""
    inverse = (features * (features + 1) // 2,)
    return {"inverse": inverse, "mean": (features,), "scale": (features,), "total": (1,)}


def leverage_arrays(strategy: Penalised, pooled: Standardised, system: Tensor) -> Arrays:
    """Return the arrays of :func:`leverage_shapes` for a system that is divided by n."""
    inverse = strategy.solve_system(system, torch.eye(len(system), dtype=torch.float64)) / pooled.n
    return {
        "inverse": upper_triangle(inverse),
        "mean": pooled.mean.numpy(),
        "scale": pooled.scale.numpy(),
        "total": pooled.n.reshape(1).numpy(),
    }


def standardised(rows: LabelledRows, leverage: Tensors) -> tuple[Tensor, Tensor]:
    """Return standardised rows ``(n, d)`` and the inverse ``(d, d)``, float64."""
    z = (rows.features - leverage["mean"].double()) * leverage["scale"].double()
    return z, symmetric(leverage["inverse"].numpy(), z.shape[1])


def chunks(block: ClientBlock, client: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a client's features in float64, a column of ones joined, and their labels."""
    rows = torch.from_numpy(block.rows[client])
    for chunk in torch.split(rows, _CHUNK):
        z = torch.ones(len(chunk), block.features.shape[1] + 1, dtype=torch.float64)
        z[:, :-1] = block.features[chunk]
        yield z, block.labels[chunk]


def summed(block: ClientBlock, client: int, weights: Tensor | None = None) -> Arrays:
    """Return the upper triangle of a client's ZᵀDZ, and its ZᵀDY.

    Args:
        block: The clients.
        client: Which of them.
        weights: D's diagonal by class, shape ``(K,)``, float64; by default all 1.
    """
    width = block.features.shape[1] + 1
    gram = torch.zeros(width, width, dtype=torch.float64)
    sums = torch.zeros(block.classes, width, dtype=torch.float64)
    for z, labels in chunks(block, client):
        weighted = z if weights is None else z * weights[labels][:, None]
        gram.addmm_(z.T, weighted)
        sums.index_add_(0, labels, weighted)
    return {"gram": upper_triangle(gram), "class-sums": sums.numpy().T.copy()}


def varying(scale: Tensor) -> int:
    """Return how many features vary, given their inverse deviations; 1 at least."""
    return max(1, int((scale > 0).sum()))


def inverse_deviation(variance: Tensor, square: Tensor) -> Tensor:
    """Return 1/σ, and 0 where the variance is but rounding noise of the mean square."""
    varies = variance > 1e-12 * square.clamp_min(1e-300)
    return torch.where(varies, variance, 1.0).rsqrt() * varies


def upper_triangle(matrix: Tensor) -> NDArray[np.float64]:
    """Return the upper triangle of a square matrix, row by row."""
    upper: NDArray[np.float64] = matrix.numpy()[np.triu_indices(len(matrix))]
    return upper


def symmetric(upper: NDArray[np.floating], width: int) -> Tensor:
    """Return the symmetric matrix with this upper triangle."""
    return torch.from_numpy(upper.astype(np.float64, copy=False)[_places(width)])


@lru_cache(maxsize=4)
def _places(width: int) -> NDArray[np.intp]:
    """Return where in the upper triangle each entry of a symmetric matrix lies."""
    places = np.zeros((width, width), np.intp)
    row, column = np.triu_indices(width)
    places[row, column] = places[column, row] = np.arange(len(row))
    return places

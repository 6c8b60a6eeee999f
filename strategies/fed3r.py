"""Fed3R: the ridge-regression head of all data, from sums of per-client statistics, in one round.

Fanì, Camoriano, Caputo & Ciccone, "Accelerating Heterogeneous Federated Learning with Closed-form
Classifiers", ICML 2024 (arXiv 2406.01116), section 4.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head, LinearHead, Tensors
from fedtl.transfer.left_out import ridge_left_out
from fedtl.transfer.standardisation import Standardisation
from strategies.base import AloneHead, Arrays, ClosedFormStrategy, LabelledRows, Range, Search
from strategies.base.gcv import chosen_penalty

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

    def client_statistics(self, block: ClientBlock, client: int) -> Arrays:
        """Return A's upper triangle and B, float64."""
        return summed(block, client)


class Penalised(SecondMoments):
    """A closed form with a ridge penalty: ``ridge-penalty``, or one that the sums choose."""

    search: ClassVar[Search] = {
        "ridge-penalty": Range(1e-3, 1e2),
    }

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
        if self.config.ridge_penalty_from == "fixed":
            return self.config.ridge_penalty
        variance = 1 - pooled.share.square().sum()
        return chosen_penalty(pooled.n, pooled.correlation, pooled.cross, variance, pooled.features)

    def solve_system(self, system: Tensor, right: Tensor) -> Tensor:
        """Return the solution of a system that the ridge penalty makes positive definite."""
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            raise UsageError(
                "what clients sent does not add up to sums of any features: either one of them "
                f"sent what it did not find, or ridge-penalty = {self.config.ridge_penalty:g} is "
                "lost in their rounding; look at who takes part, or use a larger penalty."
            )
        return torch.cholesky_solve(right, factor)

    @property
    def note(self) -> str:
        """Tell the penalty that the sums chose."""
        if self.config.ridge_penalty_from == "fixed" or not self._chosen:
            return ""
        return f"Generalised cross-validation chose ridge-penalty = {self._chosen:.3g}."

    def server_state(self) -> Arrays:
        """Return the penalty that was chosen, which a resumed run tells as well."""
        return {**super().server_state(), "penalty": np.array([self._chosen])}

    def restore_server_state(self, state: Arrays) -> None:
        """Take it back."""
        super().restore_server_state(state)
        self._chosen = float(state["penalty"][0])


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
            if len(rows) > self.width or self.config.ridge_penalty_from != "fixed":
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
        system.diagonal().add_(self.config.ridge_penalty * varying(scale))
        dual = self.solve_system(system, y - share)
        return _head(scale[:, None] * (scaled.T @ dual), mean, share)


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


def _head(weight: Tensor, mean: Tensor, share: Tensor) -> Arrays:
    """Return the head with W of shape (d, K) whose mean prediction is the mean label."""
    return {"weight": weight.T.contiguous().numpy(), "bias": (share - mean @ weight).numpy()}


def upper_triangle(matrix: Tensor) -> NDArray[np.float64]:
    """Return the upper triangle of a square matrix, row by row."""
    upper: NDArray[np.float64] = matrix.numpy()[np.triu_indices(len(matrix))]
    return upper


def symmetric(upper: NDArray[np.floating], width: int) -> Tensor:
    """Return the symmetric matrix with this upper triangle."""
    matrix = np.zeros((width, width))
    row, column = np.triu_indices(width)
    matrix[row, column] = upper
    matrix[column, row] = upper
    return torch.from_numpy(matrix)


STRATEGY = Fed3R

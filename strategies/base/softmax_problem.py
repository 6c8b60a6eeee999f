"""A softmax regression as its server sees it: what the sums of second moments tell of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedtl.errors import ImpossibleTotalError
from fedtl.options import Number, Options, Range
from strategies.base.halves import Arrays
from strategies.base.quasi_newton import Floats, QuasiNewton
from strategies.base.second_moments import Standardised

SOFTMAX_PENALTY = Options(
    "softmax",
    penalty=Number(
        0.05,
        "L2 penalty per feature, on standardised features.",
        above=0.0,
        high=1e6,
        tune=Range(1e-3, 10.0),
    ),
)
"""The options of strategies that solve a softmax regression."""

# The metric exceeds the Hessian where examples are told apart, so that the true distance is up to
# twenty times the estimated one: with this below 1e-6.
_TOLERANCE = 5e-8
# The bias of a class that nobody has; the others' sum to zero. e⁻³⁰ is lost beside their shares.
_UNSEEN = -30.0


class SoftmaxProblem:
    """A softmax regression as its server sees it: a penalty, a metric, and where to begin.

    Args:
        sums: Those of :class:`strategies.base.second_moments.SecondMoments`, of all rows.
        penalty: λ, the L2 penalty per feature.

    Attributes:
        sums: The same.
        examples: Number of rows.
    """

    def __init__(self, sums: Arrays, penalty: float) -> None:
        pooled = Standardised.of(sums)
        self.sums = sums
        self.examples = round(float(pooled.n))
        self._pooled = pooled
        self._seen = (pooled.share > 0).numpy()
        self._penalty = penalty * pooled.features

    def search(self) -> QuasiNewton:
        """Return the search for the minimum, which was told of W = 0, b = 0 already."""
        n, pooled = float(self._pooled.n), self._pooled
        count = int(self._seen.sum())
        share, cross = pooled.share.numpy()[self._seen], pooled.cross.numpy()[:, self._seen]
        curvature = n * max(count - 1, 1) / count**2
        system = curvature * pooled.correlation
        system.diagonal().add_(self._penalty)
        zero = np.zeros((count, len(cross) + 1))
        search = QuasiNewton(zero, _Whitening(system, curvature), _TOLERANCE)
        gradient = np.hstack([-n * cross.T, n * (1 / count - share)[:, None]])
        search.tell(zero, n * float(np.log(count)), gradient)
        return search

    def penalised(self, point: Floats, loss: float, gradient: Floats) -> tuple[float, Floats]:
        """Return the clients' summed loss and gradient at a point with the penalty's part."""
        weight = point[:, :-1]
        total = gradient[self._seen].copy()
        total[:, :-1] += self._penalty * weight
        return loss + self._penalty / 2 * float(np.vdot(weight, weight)), total

    def head(self, point: Floats) -> Arrays:
        """Return a point, which has only the classes seen, as a head, float32."""
        weight = np.zeros((len(self._seen), point.shape[1] - 1), np.float32)
        bias = np.full(len(self._seen), _UNSEEN, np.float32)
        weight[self._seen], bias[self._seen] = point[:, :-1], point[:, -1]
        return {"weight": weight, "bias": bias}

    def point(self, head: Arrays) -> Floats:
        """Return the point that a head is: the inverse of :meth:`head`."""
        both = np.hstack([head["weight"], head["bias"][:, None]])
        point: Floats = both[self._seen].astype(np.float64)
        return point

    def first_on_raw(self) -> Arrays:
        """Return the search's first trial on features as they are, float64."""
        scale, mean = self._pooled.scale.numpy(), self._pooled.mean.numpy()
        head = self.head(self.search().trial)
        weight = head["weight"] * scale
        return {"weight": weight, "bias": head["bias"] - weight @ mean}


class _Whitening:
    """M, as FedSoftmax has it: one matrix for every class's weights, and one number for its bias.

    See :class:`strategies.base.quasi_newton.Metric`.
    """

    def __init__(self, system: Tensor, bias: float) -> None:
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            raise ImpossibleTotalError(
                "What clients sent does not add up to sums of any features, although each client's "
                "own does: softmax-penalty is lost in their rounding; use a larger one."
            )
        self._system, self._factor, self._bias = system, factor, bias

    def solve(self, right: Floats) -> Floats:
        turned = torch.cholesky_solve(torch.from_numpy(right[:, :-1].T.copy()), self._factor)
        return np.hstack([turned.numpy().T, right[:, -1:] / self._bias])

    def square(self, point: Floats) -> float:
        weight, bias = point[:, :-1], point[:, -1]
        product = weight @ self._system.numpy()
        return float(np.vdot(product, weight) + self._bias * np.vdot(bias, bias))

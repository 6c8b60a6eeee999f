"""Multinomial logistic regression solved to convergence, on one thread, in float64.

What stochastic gradient descent approaches and where it stops depends on its step, its momentum and
its number of epochs; the minimum of a penalised cross-entropy is one point, and the same bytes on
every run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedtl.transfer.heads import one_thread

# The largest component of the gradient that is left, in whitened coordinates, in which the Hessian
# is about the identity.
_TOLERANCE = 1e-9
_NEWTON_STEPS = 100
_CONJUGATE_STEPS = 500
# Relative differences of losses below this are rounding.
_RESOLVED = 1e-14
# Rows that are centred at a time.
_CHUNK = 1024


def fit_softmax(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    tolerance: float = _TOLERANCE,
) -> tuple[Tensor, Tensor]:
    """Return W and b of least Σᵢ -log softmax(W xᵢ + b)[yᵢ] + (penalty / 2) ‖W‖².

    This is scikit-learn's ``LogisticRegression`` with C = 1 / penalty: the cross-entropy is summed,
    not averaged, and b is not penalised. b sums to 0, which its softmax does not see.

    A class without examples would get b → -∞. It gets the mean of the others' logits less 1
    instead, below their largest for every input and of finite loss.

    Args:
        features: x, shape ``(n, d)``, any float dtype; used in float64.
        labels: y, shape ``(n,)``, int64, each in 0 … classes - 1.
        classes: Number of classes K.
        penalty: Weight of the squared norm; positive.
        tolerance: Largest component of the gradient to stop at, in whitened coordinates.

    Returns:
        W of shape ``(K, d)`` and b of shape ``(K,)``, float64.

    Raises:
        ValueError: The penalty is not positive, or there are no examples.
    """
    with one_thread():
        return Whitened.of(features, labels, classes).solve(penalty, tolerance=tolerance)[0]


@dataclass(frozen=True)
class Whitened:
    """Examples in the coordinates of their principal directions, for solving at many penalties.

    Attributes:
        scores: Coordinates of the centred examples, of unit sum of squares, and a column of ones,
            shape ``(n, r + 1)``.
        spread: Square root of each direction's sum of squares, shape ``(r,)``.
        directions: Of length 1, shape ``(d, r)``.
        mean: Of the features, shape ``(d,)``.
        target: Labels, one-hot over the classes that have examples, shape ``(n, S)``.
        seen: Which classes those are, shape ``(K,)``, bool.
    """

    scores: Tensor
    spread: Tensor
    directions: Tensor
    mean: Tensor
    target: Tensor
    seen: Tensor

    @classmethod
    def of(
        cls,
        features: Tensor,
        labels: Tensor,
        classes: int,
        gram: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Whitened:
        """Decompose examples; the minimum's W lies in the span of the centred ones.

        Args:
            features: Shape ``(n, d)``.
            labels: Shape ``(n,)``.
            classes: K.
            gram: Inner products of the centred features, shape ``(d, d)``, float64, if they are
                known; used where there are not fewer examples.
            dtype: Of the scores.

        Raises:
            ValueError: There are no examples.
        """
        if not len(features):
            raise ValueError("softmax regression needs an example")
        x = features.double()
        mean = x.mean(0)
        wide = x.shape[0] < x.shape[1]
        if wide:
            x = x - mean
            gram = x @ x.T
        elif gram is None:
            gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
            for part in torch.split(x, _CHUNK):
                gram.addmm_((part - mean).T, part - mean)
        squares, vectors = torch.linalg.eigh(gram)
        kept = squares > squares[-1:].clamp_min(1e-300) * len(squares) * 2.0**-52
        spread, vectors = squares[kept].sqrt(), vectors[:, kept]
        if wide:
            scores = torch.ones(len(x), len(spread) + 1, dtype=dtype)
            scores[:, :-1] = vectors
        else:
            scores = _scores(x, mean, vectors, spread, dtype)
        directions = x.T @ vectors / spread if wide else vectors
        target = torch.nn.functional.one_hot(labels, classes).double()
        seen = target.sum(0) > 0
        return cls(scores, spread, directions, mean, target[:, seen], seen)

    def precise(self, features: Tensor) -> Whitened:
        """Return the same examples with scores in float64.

        Args:
            features: As this was made of.
        """
        scores = _scores(features.double(), self.mean, self.directions, self.spread, torch.float64)
        return replace(self, scores=scores)

    def solve(
        self, penalty: float, start: Tensor | None = None, tolerance: float = _TOLERANCE
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return :func:`fit_softmax`'s W and b, and the solution to start a near one from.

        Args:
            penalty: Weight of the squared norm; positive.
            start: What this returned at another penalty, of the same number of classes seen.
            tolerance: Largest component of the gradient to stop at, in whitened coordinates.

        Raises:
            ValueError: The penalty is not positive.
        """
        units, shrinks, scales = self.conditioned(penalty)
        found = torch.zeros(self.target.shape[1], len(units), dtype=torch.float64)
        if start is not None:
            found = start / scales
        _minimise(found, _Scaled(self.scores, units), self.target, shrinks, tolerance)
        found = found * scales
        weight = torch.zeros(len(self.seen), len(self.mean), dtype=torch.float64)
        bias = torch.full((len(self.seen),), -1.0, dtype=torch.float64)
        # Both are about zero over the classes seen, so that an unseen one has their mean.
        weight[self.seen] = found[:, :-1] @ self.directions.T
        bias[self.seen] = found[:, -1] - found[:, -1].mean()
        return (weight, bias - weight @ self.mean), found

    def conditioned(self, penalty: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return units in which the Hessian is about I: of ``scores``, penalties and solutions."""
        if not penalty > 0:
            raise ValueError(f"penalty = {penalty} is not positive")
        count = self.target.shape[1]
        # The mean curvature where all classes are as likely: Hessian ≈ (S - 1) / S² XᵀX + λI.
        curvature = max(count - 1, 1) / count**2
        scale = (curvature * self.spread.square() + penalty).rsqrt()
        one = torch.tensor([(curvature * len(self.scores)) ** -0.5], dtype=torch.float64)
        shrinks = torch.cat([penalty * scale.square(), torch.zeros(1, dtype=torch.float64)])
        return torch.cat([self.spread * scale, one]), shrinks, torch.cat([scale, one])


def _scores(
    x: Tensor, mean: Tensor, directions: Tensor, spread: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return coordinates of unit sum of squares along directions, and a column of ones."""
    scores = torch.ones(len(x), len(spread) + 1, dtype=dtype)
    if dtype != torch.float64:
        directions = (directions / spread).to(dtype)
    for place, part in zip(torch.split(scores, _CHUNK), torch.split(x, _CHUNK), strict=True):
        if dtype == torch.float64:
            place[:, :-1] = (part - mean) @ directions / spread
        else:
            place[:, :-1] = (part - mean).to(dtype) @ directions
    return scores


@dataclass(frozen=True)
class _Scaled:
    """Examples whose coordinates have other units, which no copy is made for.

    Attributes:
        scores: Shape ``(n, r)``.
        units: What each coordinate is multiplied by, shape ``(r,)``.
    """

    scores: Tensor
    units: Tensor

    def outputs(self, v: Tensor) -> Tensor:
        """Return V xᵢ of every example, ``(n, S)``, for V ``(S, r)``."""
        return self.scores @ (v * self.units).T

    def weighted(self, weights: Tensor) -> Tensor:
        """Return Σ wᵢ xᵢᵀ, ``(S, r)``, for w ``(n, S)``."""
        return (weights.T @ self.scores) * self.units


def _minimise(found: Tensor, x: _Scaled, target: Tensor, shrinks: Tensor, tolerance: float) -> None:
    """Minimise Σᵢ -log softmax(V xᵢ)[yᵢ] + ½ Σ s V² over V ``(S, r)``, in place.

    By Newton's method whose systems conjugate gradients solve as far as it pays (Nocedal & Wright,
    Numerical Optimization, 2nd ed., algorithm 7.1). Unlike quasi-Newton methods it needs no
    differences of losses near the minimum, which float64 does not resolve there.
    """

    def loss(v: Tensor) -> tuple[Tensor, Tensor]:
        log_p = x.outputs(v).log_softmax(1)
        return ((v.square() * shrinks).sum() / 2 - (log_p * target).sum()), log_p.exp()

    value, p = loss(found)
    for _ in range(_NEWTON_STEPS):
        slope = x.weighted(p - target) + shrinks * found
        if slope.abs().max() < tolerance:
            return
        step = _newton_step(slope, x, p, shrinks)
        descent = (slope * step).sum()
        length = 1.0
        while True:
            moved = found + length * step
            new, p = loss(moved)
            if new <= value + 1e-4 * length * descent + _RESOLVED * value.abs() or length < 1e-9:
                break
            length /= 2
        found.copy_(moved)
        value = new


def _newton_step(slope: Tensor, x: _Scaled, p: Tensor, shrinks: Tensor) -> Tensor:
    """Return about -H⁻¹ ``slope``, H being the Hessian where the probabilities are ``p``."""
    step, residual = torch.zeros_like(slope), -slope
    direction, square = residual, residual.square().sum()
    goal = square * square.sqrt().clamp_max(0.25)
    for _ in range(_CONJUGATE_STEPS):
        turned = p * x.outputs(direction)
        turned = turned - p * turned.sum(1, keepdim=True)
        curved = x.weighted(turned) + shrinks * direction
        length = square / (direction * curved).sum()
        step = step + length * direction
        residual = residual - length * curved
        before, square = square, residual.square().sum()
        if square <= goal:
            break
        direction = residual + (square / before) * direction
    return step

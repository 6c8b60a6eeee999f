"""L-BFGS that is told the function once a call, so that each evaluation can be a round.

Liu & Nocedal, "On the Limited Memory BFGS Method for Large Scale Optimization", Mathematical
Programming 45, 1989; Nocedal & Wright, "Numerical Optimization", second edition, algorithm 7.4.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from strategies.base.halves import Arrays

Floats = NDArray[np.floating]

# Sufficient decrease; and its form in slopes, for decreases that rounding of the loss hides
# (Hager & Zhang, SIAM Journal on Optimization 16, 2005, equation 23).
_ARMIJO = 1e-4
_STEEP = 0.8
_NOISE = 1e-11
_SHORTEST, _LONGEST = 0.1, 0.8
_PAIRS = 20


class Metric(Protocol):
    """A positive definite matrix M."""

    def solve(self, right: Floats) -> Floats:
        """Return M⁻¹ ``right``."""
        ...

    def square(self, point: Floats) -> float:
        """Return xᵀMx for x = ``point``."""
        ...


class QuasiNewton:
    """Minimises a smooth convex function: :meth:`tell` it the function, and read :attr:`trial`.

    The inverse Hessian starts as γM⁻¹ and is corrected by the last 20 pairs of steps and changes of
    the gradient, γ = sᵀy / yᵀM⁻¹y by the newest of them: L-BFGS in coordinates whitened by M^(-½).
    A step that does not decrease the function enough is shortened to where its two slopes, joined
    by a line, say that the minimum along it is; no evaluation but that one is spent on it.

    Trials are rounded to float32, which is what clients are sent, and gradients are exact at what
    was sent: what rounding costs does not add up.

    Args:
        start: The first trial.
        metric: M, which should resemble the Hessian.
        tolerance: It is finished if :attr:`distance` is no larger.

    Attributes:
        trial: Where to evaluate the function next, float64 of float32 precision.
        best: The lowest point so far; ``start`` before the first.
        distance: About how far ``best`` is from the minimum, relative to its own length: the root
            of gᵀHg / xᵀMx, H being the inverse Hessian.
        finished: Whether ``best`` is the minimum as nearly as can be told.
    """

    def __init__(self, start: Floats, metric: Metric, tolerance: float) -> None:
        self.trial = self.best = _sendable(start)
        self.finished, self.distance = False, np.inf
        self._metric, self._tolerance = metric, tolerance
        self._loss = np.inf
        self._gradient = np.zeros_like(self.trial)
        self._direction = np.zeros_like(self.trial)
        self._length = 1.0
        self._steps: list[Floats] = []
        self._changes: list[Floats] = []

    def tell(self, point: Floats, loss: float, gradient: Floats) -> None:
        """Take the function's value and gradient at a trial, and choose the next.

        Args:
            point: :attr:`trial` as it was sent.
            loss: The value there.
            gradient: The gradient there.
        """
        self.trial = point
        slope = _dot(self._gradient, self._direction)
        reached = _dot(gradient, self._direction)
        if self._enough(loss, slope, reached):
            self._accept(loss, gradient)
        else:
            part = slope / (slope - reached) if reached > 0 else _SHORTEST
            self._length *= float(np.clip(part, _SHORTEST, _LONGEST))
        self.trial = _sendable(self.best + self._length * self._direction)
        if np.array_equal(self.trial, self.best):
            self.finished = True

    def forget(self) -> None:
        """Begin again at :attr:`trial`: the function has changed."""
        self.finished, self._loss = False, np.inf
        self._steps, self._changes = [], []

    def _enough(self, loss: float, slope: float, reached: float) -> bool:
        if not np.isfinite(self._loss):
            return True
        if loss <= self._loss + _ARMIJO * self._length * slope:
            return True
        hidden = loss <= self._loss + _NOISE * abs(self._loss)
        return hidden and abs(reached) <= -_STEEP * slope

    def _accept(self, loss: float, gradient: Floats) -> None:
        step, change = self.trial - self.best, gradient - self._gradient
        if np.isfinite(self._loss) and _dot(step, change) > 0:
            self._steps = [*self._steps, step][-_PAIRS:]
            self._changes = [*self._changes, change][-_PAIRS:]
        self.best, self._loss, self._gradient = self.trial, loss, gradient
        self._direction, self._length = -self._inverse_hessian(gradient), 1.0
        self.distance = self._distance()
        self.finished = self.distance <= self._tolerance

    def _distance(self) -> float:
        left, size = -_dot(self._gradient, self._direction), self._metric.square(self.best)
        return float(np.sqrt(left / size)) if size > 0 else float(left > 0)

    def _inverse_hessian(self, gradient: Floats) -> Floats:
        """Return Hg by the two loops of algorithm 7.4."""
        pairs = list(zip(self._steps, self._changes, strict=True))
        turned, weights = gradient, []
        for step, change in reversed(pairs):
            weights.append(_dot(step, turned) / _dot(step, change))
            turned = turned - weights[-1] * change
        turned = self._metric.solve(turned)
        if pairs:
            step, change = pairs[-1]
            turned = turned * (_dot(step, change) / _dot(change, self._metric.solve(change)))
        for (step, change), weight in zip(pairs, reversed(weights), strict=True):
            turned = turned + step * (weight - _dot(change, turned) / _dot(step, change))
        return turned

    def state(self) -> Arrays:
        """Return all that the next call depends on, for :meth:`restore`."""
        none = np.empty((0, *self.best.shape))
        return {
            "trial": self.trial,
            "best": self.best,
            "gradient": self._gradient,
            "direction": self._direction,
            "steps": np.stack(self._steps) if self._steps else none,
            "changes": np.stack(self._changes) if self._changes else none,
            "numbers": np.array([self._loss, self._length, self.distance, float(self.finished)]),
        }

    def restore(self, state: Arrays) -> None:
        """Restore what :meth:`state` returned."""
        self.trial, self.best = state["trial"], state["best"]
        self._gradient, self._direction = state["gradient"], state["direction"]
        self._steps, self._changes = list(state["steps"]), list(state["changes"])
        self._loss, self._length, self.distance = map(float, state["numbers"][:3])
        self.finished = bool(state["numbers"][3])


def _sendable(point: Floats) -> Floats:
    return point.astype(np.float32).astype(np.float64)


def _dot(a: Floats, b: Floats) -> float:
    return float(np.vdot(a, b))

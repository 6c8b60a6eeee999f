"""Softmax regressions near one another, solved together and roughly: to choose by, not to use.

Which penalty is better shows long before a regression is solved exactly, and regressions that lack
some of the same rows each are all near the one that lacks none: a few steps from it, in float32,
with all of them in one product over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedtl.transfer.softmax_regression import Whitened

_NEWTON_STEPS = 100
_CONJUGATE_STEPS = 500
# Relative differences of losses below this are rounding, and lengths of steps below that nothing.
_RESOLVED, _SHORTEST = 1e-6, 1e-6
# For a residual of zero.
_TINY = 1e-30
# Outputs that are in memory at a time, of all rows by regressions and classes.
_OUTPUTS = 2**23


@dataclass(frozen=True, eq=False)
class RoughSoftmax:
    """Examples for rough solutions.

    Attributes:
        examples: The same, with scores in float32.
        target: Labels, one-hot over the classes that have examples, ``(S, n)``, float32.
    """

    examples: Whitened
    target: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, classes: int, gram: Tensor) -> RoughSoftmax:
        """Decompose examples; arguments as of :meth:`Whitened.of`."""
        examples = Whitened.of(features, labels, classes, gram, torch.float32)
        return cls(examples, examples.target.T.float().contiguous())

    def near(self, penalty: float, tolerance: float, start: Tensor | None = None) -> Tensor:
        """Return about the minimum over all rows, as :meth:`Whitened.solve` takes it to start from.

        Args:
            penalty: Weight of the squared norm; positive.
            tolerance: The largest component of the whitened gradient that is left.
            start: What this returned at another penalty.

        Raises:
            ValueError: The penalty is not positive.
        """
        units, shrinks, scales = self.examples.conditioned(penalty)
        found = torch.zeros(1, len(self.target), len(units))
        if start is not None:
            found[0] = start / scales
        stack = _Stack(self.examples.scores, units.float(), shrinks.float(), self.target, tolerance)
        return stack.minimised(found, None)[0].double() * scales

    def without(
        self, penalty: float, near: Tensor, parts: Sequence[Tensor], tolerance: float
    ) -> Iterator[Tensor]:
        """Yield what regressions that lack a part of the rows each say of that part.

        Args:
            penalty: Weight of the squared norm; positive.
            near: What :meth:`near` returned at this penalty.
            parts: Row numbers of each.
            tolerance: As of :meth:`near`. What begins at a solution that knows the rows left out
                has to forget them: the fewer rows, the more one of them counts.

        Yields:
            Shape ``(m, K)``, float64; a class without examples gets the others' mean less 1.
        """
        units, shrinks, scales = self.examples.conditioned(penalty)
        stack = _Stack(self.examples.scores, units.float(), shrinks.float(), self.target, tolerance)
        together = max(1, _OUTPUTS // self.target.numel())
        for first in range(0, len(parts), together):
            some = parts[first : first + together]
            kept = torch.ones(len(some), 1, self.target.shape[1])
            for number, part in enumerate(some):
                kept[number, :, part] = 0.0
            found = (near / scales).float().expand(len(some), -1, -1).clone()
            for part, v in zip(some, stack.minimised(found, kept), strict=True):
                said = (stack.scores[part] @ (v * stack.units).T).double()
                outputs = (said.mean(1, keepdim=True) - 1).repeat(1, len(self.examples.seen))
                outputs[:, self.examples.seen] = said
                yield outputs


@dataclass(frozen=True, eq=False)
class _Stack:
    """P regressions over the same rows, each with weights 0 or 1 for them.

    Attributes:
        scores: Shape ``(n, r)``.
        units: What each coordinate is multiplied by, shape ``(r,)``.
        shrinks: Penalty of each coordinate, shape ``(r,)``.
        target: Shape ``(S, n)``.
        tolerance: See :meth:`RoughSoftmax.near`.
    """

    scores: Tensor
    units: Tensor
    shrinks: Tensor
    target: Tensor
    tolerance: float

    def minimised(self, found: Tensor, kept: Tensor | None) -> Tensor:
        """Minimise each regression's penalised cross-entropy over V, from ``found`` and in it.

        By Newton's method as in ``softmax_regression``, but all regressions take their conjugate
        steps side by side.

        Args:
            found: Shape ``(P, S, r)``.
            kept: Which rows each has, 1 or 0, shape ``(P, 1, n)``; ``None`` for all.
        """
        going = torch.arange(len(found))
        value, p = self._loss(found, kept)
        v = found
        for _ in range(_NEWTON_STEPS):
            target = self.target if kept is None else self.target * kept
            slope = self._weighted(p - target) + self.shrinks * v
            unsolved = slope.abs().amax((1, 2)) >= self.tolerance
            if not unsolved.all():
                going, v, slope, p, value = (one[unsolved] for one in (going, v, slope, p, value))
                kept = kept if kept is None else kept[unsolved]
            if not len(going):
                break
            step = self._newton_step(slope, p)
            descent = (slope * step).sum((1, 2)).double()
            length = torch.ones(len(going), dtype=torch.float64)
            while True:
                moved = v + length[:, None, None].float() * step
                new, p = self._loss(moved, kept)
                enough = new <= value + 1e-4 * length * descent + _RESOLVED * value.abs()
                if (enough | (length < _SHORTEST)).all():
                    break
                length = torch.where(enough, length, length / 2)
            v, value = moved, new
            found[going] = v
        return found

    def _newton_step(self, slope: Tensor, p: Tensor) -> Tensor:
        """Return about -H⁻¹ ``slope``, H being the Hessian where the probabilities are ``p``."""
        step, residual = torch.zeros_like(slope), -slope
        direction, square = residual, _squares(residual)
        goal = square * square.sqrt().clamp_max(0.25)
        for _ in range(_CONJUGATE_STEPS):
            turned = p * self._outputs(direction)
            turned = turned - p * turned.sum(1, keepdim=True)
            curved = self._weighted(turned) + self.shrinks * direction
            # One that has arrived rests while others go on.
            length = torch.where(
                square > goal, square / (direction * curved).sum((1, 2), keepdim=True), 0.0
            )
            step = step + length * direction
            residual = residual - length * curved
            before, square = square, _squares(residual)
            if (square <= goal).all():
                break
            direction = residual + square / before.clamp_min(_TINY) * direction
        return step

    def _loss(self, v: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return each regression's loss ``(P,)``, float64, and probabilities, 0 where not kept."""
        log_p = self._outputs(v).log_softmax(1)
        of_rows = (log_p * self.target).sum(1, keepdim=True)
        p = log_p.exp_()
        if kept is not None:
            of_rows, p = of_rows * kept, p.mul_(kept)
        shrunk = (v.square() * self.shrinks).sum((1, 2), dtype=torch.float64)
        return shrunk / 2 - of_rows.sum((1, 2), dtype=torch.float64), p

    def _outputs(self, v: Tensor) -> Tensor:
        """Return V xᵢ of every row, ``(P, S, n)``, for V ``(P, S, r)``."""
        flat = (v * self.units).flatten(0, 1)
        return (flat @ self.scores.T).view(*v.shape[:2], -1)

    def _weighted(self, weights: Tensor) -> Tensor:
        """Return Σ wᵢ xᵢᵀ, ``(P, S, r)``, for w ``(P, S, n)``."""
        flat = weights.flatten(0, 1)
        return (flat @ self.scores).view(*weights.shape[:2], -1) * self.units


def _squares(v: Tensor) -> Tensor:
    return v.square().sum((1, 2), keepdim=True)

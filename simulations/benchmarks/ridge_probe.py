"""A ridge probe: how well frozen features tell classes apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.holdout import Rows
from simulations.benchmarks.backbone_tasks import Split

Features = NDArray[np.float32]
Matrix = NDArray[np.floating[Any]]

PENALTIES: list[float] = np.logspace(-1, 7, 17).tolist()


class RidgeProbe:
    """Ridge regression of one-hot labels, with intercept, on standardised features.

    Args:
        features: Shape ``(n, d)``.
        labels: Shape ``(n,)``, from 0 to ``classes - 1``.
        classes: Number of classes.
    """

    def __init__(self, features: Features, labels: Rows, classes: int) -> None:
        exact = features.astype(np.float64)
        self._mean, deviation = exact.mean(axis=0), exact.std(axis=0)
        # The deviation of a feature that never varies may be rounding noise.
        varies = deviation > 1e-6 * np.abs(self._mean)
        self._scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        self._inputs = self._standardised(features)
        targets = np.eye(classes)[labels]
        self._intercept = targets.mean(axis=0)
        targets -= self._intercept
        # Of the two Gram matrices that give the same weights, the smaller.
        self._primal = len(exact) >= len(deviation)
        inputs = self._inputs
        self._gram: Matrix = inputs.T @ inputs if self._primal else inputs @ inputs.T
        self._right: Matrix = inputs.T @ targets if self._primal else targets

    def weights(self, penalty: float) -> Matrix:
        """Return the weights for one penalty, shape ``(d, classes)``."""
        matrix = self._gram + penalty * np.eye(len(self._gram))
        return self._weights_of(np.linalg.solve(matrix, self._right))

    def path(self, penalties: Sequence[float]) -> Iterator[Matrix]:
        """Yield the weights for each penalty, from one eigendecomposition."""
        values, vectors = np.linalg.eigh(self._gram)
        rotated = vectors.T @ self._right
        for penalty in penalties:
            yield self._weights_of(vectors @ (rotated / (values + penalty)[:, None]))

    def scores(self, weights: Matrix, features: Features) -> Matrix:
        """Return a score per class, shape ``(n, classes)``."""
        scores: Matrix = self._standardised(features) @ weights + self._intercept
        return scores

    def _standardised(self, features: Features) -> Matrix:
        standardised: Matrix = (features - self._mean) * self._scale
        return standardised

    def _weights_of(self, solution: Matrix) -> Matrix:
        return solution if self._primal else self._inputs.T @ solution


def probe(features: Features, labels: Rows, split: Split) -> tuple[float, float]:
    """Return the accuracy on the test split and the penalty that the validation part chose."""
    classes = int(labels.max()) + 1

    def accuracy(ridge: RidgeProbe, weights: Matrix, rows: Rows) -> float:
        found = ridge.scores(weights, features[rows]).argmax(axis=1)
        return float((found == labels[rows]).mean())

    ridge = RidgeProbe(features[split.fit], labels[split.fit], classes)
    accuracies = [accuracy(ridge, weights, split.validation) for weights in ridge.path(PENALTIES)]
    # Among equal accuracies the largest penalty.
    _, penalty = max(zip(accuracies, PENALTIES, strict=True))
    ridge = RidgeProbe(features[split.train], labels[split.train], classes)
    return accuracy(ridge, ridge.weights(penalty), split.test), penalty

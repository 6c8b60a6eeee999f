"""Feature standardisation from summed moments, so that no data need be pooled to know it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK = 4096
_MOST_TIMES_MEDIAN = np.float32(1000)


@dataclass(frozen=True)
class Moments:
    """Count, sum and sum of squares of feature vectors; moments of parts add up to the whole's.

    Attributes:
        count: Number of vectors.
        total: Sum, shape ``(d,)``, float64.
        squares: Sum of squares, shape ``(d,)``, float64.
    """

    count: int
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, features: Tensor, rows: NDArray[np.int64]) -> Moments:
        """Return the moments of ``features[rows]``; ``features`` is ``(N, d)`` float32."""
        width = features.shape[1]
        total = torch.zeros(width, dtype=torch.float64)
        squares = torch.zeros(width, dtype=torch.float64)
        for start in range(0, len(rows), _CHUNK):
            chunk = features[torch.from_numpy(rows[start : start + _CHUNK])].double()
            total += chunk.sum(0)
            squares += chunk.square().sum(0)
        return cls(len(rows), total.numpy(), squares.numpy())

    @classmethod
    def sum(cls, parts: Iterable[Moments], width: int) -> Moments:
        """Return the moments of the union of ``parts``, of ``width`` features, added in order."""
        count, total, squares = 0, np.zeros(width), np.zeros(width)
        for part in parts:
            count += part.count
            total = total + part.total
            squares = squares + part.squares
        return cls(count, total, squares)


@dataclass(frozen=True)
class Standardisation:
    """x ↦ (x - mean) · scale, with scale the inverse standard deviation.

    A feature that never varies gets scale 0: it tells nothing and must not blow up on new data.

    Attributes:
        mean: Shape ``(d,)``, float32.
        scale: Shape ``(d,)``, float32.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def from_moments(cls, moments: Moments) -> Standardisation:
        """Return the standardisation that gives the summed data mean 0 and variance 1."""
        count = max(moments.count, 1)
        mean = moments.total / count
        variance = np.maximum(moments.squares / count - mean**2, 0.0)
        # Below this the variance is rounding noise of the float32 features, not signal.
        varies = variance > 1e-12 * np.maximum(moments.squares / count, 1e-30)
        scale = np.where(varies, 1.0 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    @classmethod
    def identity(cls, width: int) -> Standardisation:
        """Return the standardisation that changes nothing."""
        return cls(np.zeros(width, np.float32), np.ones(width, np.float32))

    def of_trained_blocks(self) -> Standardisation:
        """Return the same for features that are still to change, as blocks below them are trained.

        A feature whose deviation is less than a thousandth of the median one counts as one that
        never varies. Frozen, it may tell something; here a step that moves it at all would move it
        by many deviations.
        """
        varying = self.scale[self.scale > 0]
        most = _MOST_TIMES_MEDIAN * np.median(varying) if len(varying) else np.float32(0)
        return Standardisation(
            self.mean, np.where(self.scale > most, np.float32(0), self.scale).astype(np.float32)
        )

    def apply(self, features: Tensor) -> Tensor:
        """Return standardised ``features`` of shape ``(…, d)``."""
        return (features - torch.from_numpy(self.mean)) * torch.from_numpy(self.scale)

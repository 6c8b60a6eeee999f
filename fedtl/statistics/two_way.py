"""What a mean over seeds and test examples is worth for other seeds and other examples.

A comparison scores every strategy with several seeds on the same test examples, a crossed design:
seeds are to it what readers are to a study of several readers and cases. A mean over both varies
with the seeds that were drawn and with the examples that were, and a test over seeds alone sees
only the first.

The variance of the mean is that of two-way analysis of variance with both factors random, which is
also what the pigeonhole bootstrap resamples (Owen, "The Pigeonhole Bootstrap", Annals of Applied
Statistics 1, 2007), here without its draws and without its bias at few seeds: V = A + B, with A the
variance between the seeds' accuracies over the number of seeds, which rests on S - 1 degrees of
freedom, and B what examples add that all seeds share. The half-width of an interval is
√(t²(S - 1) A + t²(G - 1) B), whose coverage is at least nominal for independent estimates of two
variances, however few seeds there are (Banerjee, "On the Comparison of Means from Two Populations
with Unknown Variances", Journal of the American Statistical Association 56, 1961).

Measured with five seeds: of 95 % intervals of simulated accuracies between .8 and .99 on 300 or
1,000 examples, this covers the truth in 94 to 98 of 100, the pigeonhole bootstrap's percentiles in
88 to 99, Satterthwaite's degrees of freedom in 88 to 96, a t-test over seeds in 35 to 93. Of five
seeds and 300 examples drawn from runs on PACS and on malaria cells, four strategies and three
differences, this covers in 95 to 97 of 100, a t-test over seeds in 27 to 94.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedtl.statistics.intervals import LEVEL, Interval, wilson

FEWEST_SEEDS = 5
"""With fewer seeds nothing is called significant."""

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class TwoWay:
    """A mean over S seeds and G units, and how far it can be off; units are examples, or groups.

    Attributes:
        mean: Mean over seeds of each seed's mean over examples.
        between_seeds: A, the variance of the mean that seeds make.
        between_units: B, the variance that examples make which all seeds share.
        seeds: S.
        units: G.
    """

    mean: float
    between_seeds: float
    between_units: float
    seeds: int
    units: int

    @classmethod
    def of(cls, values: NDArray[np.float64], sizes: NDArray[np.float64]) -> TwoWay:
        """Return it for sums over units.

        A unit need not occur in every seed: there its size is 0.

        Args:
            values: What a unit's examples add up to (how many are right, or by how many one head is
                ahead of another), shape ``(S, G)``.
            sizes: How many examples that are, shape ``(S, G)``; a positive sum for every seed.
        """
        seeds, units = values.shape
        totals = sizes.sum(1, keepdims=True)
        each = values.sum(1) / totals[:, 0]
        mean = float(each.mean())
        residual = (values - each[:, None] * sizes) / totals
        between_seeds = between_units = math.nan
        if seeds > 1:
            between_seeds = float(np.square(each - mean).sum()) / (seeds * (seeds - 1))
            # Products of different seeds share nothing but the unit.
            shared = np.square(residual.sum(0)) - np.square(residual).sum(0)
            between_units = float(shared.sum()) / (seeds * (seeds - 1))
        elif units > 1:
            between_seeds, between_units = 0.0, float(np.square(residual).sum())
        # One unit says nothing of how units differ.
        corrected = max(0.0, between_units * units / (units - 1)) if units > 1 else math.nan
        return cls(mean, between_seeds, corrected, seeds, units)

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of a difference; ``None`` if the spread is unknown."""
        half = self._half_width(1 - LEVEL)
        return None if half is None else Interval(self.mean - half, self.mean + half)

    @property
    def share_interval(self) -> Interval | None:
        """The 95 % interval of a share, symmetrical in its log-odds, so that it stays in (0, 1).

        If all or none are right there is no spread, and it is Wilson's for G trials.
        """
        half = self._half_width(1 - LEVEL)
        if half is None:
            return None
        if not 0 < self.mean < 1:
            return wilson(self.mean, self.units)
        width = half / (self.mean * (1 - self.mean))
        centre = math.log(self.mean / (1 - self.mean))
        return Interval(_logistic(centre - width), _logistic(centre + width))

    @property
    def p(self) -> float:
        """Two-sided p-value of a mean of 0; NaN if the spread is unknown."""
        from scipy.optimize import brentq

        if math.isnan(self.between_seeds) or math.isnan(self.between_units):
            return math.nan
        if self.between_seeds + self.between_units < _ROUNDING**2:
            return 1.0 if abs(self.mean) < _ROUNDING else 0.0
        lowest = 1e-12

        def excess(alpha: float) -> float:
            half = self._half_width(alpha)
            assert half is not None
            return half - abs(self.mean)

        if excess(lowest) < 0:
            return lowest
        # At alpha = 1 the half-width is 0.
        return 1.0 if excess(1.0) >= 0 else float(brentq(excess, lowest, 1.0, xtol=1e-13))

    def _half_width(self, alpha: float) -> float | None:
        from scipy.special import stdtrit

        if math.isnan(self.between_seeds) or math.isnan(self.between_units):
            return None
        by_units = float(stdtrit(self.units - 1, 1 - alpha / 2)) ** 2 * self.between_units
        if self.seeds < 2:
            return math.sqrt(by_units)
        by_seeds = float(stdtrit(self.seeds - 1, 1 - alpha / 2)) ** 2 * self.between_seeds
        return math.sqrt(by_seeds + by_units)


def _logistic(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))

"""Which of k strategies are behind the one that did best, when the same data say which that is.

The best of k equal ones is ahead of the others by chance, the more so the larger k is, and tests of
each against it that do not know of the choice find too many behind: with Holm's correction for the
k - 1 others, in 8 to 12 of 100 comparisons of twenty equal strategies. So the choice is simulated
together with the tests: what the smallest p-value would be if all were equal (Westfall & Young,
Resampling-Based Multiple Testing, Wiley 1993, single-step minP; Hsu, Multiple Comparisons, 1996,
chapter 4, on the best). A draw is of strategies whose seeds vary as much as theirs on average,
independently of each other, and whose shared examples vary and covary as theirs do; it estimates
its own variances anew, from as few seeds, so that five seeds are no narrower than they are. Each
p-value is of Student's t with Satterthwaite's degrees of freedom and serves as a scale common to
pairs of different degrees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedtl.determinism import generator

Floats = NDArray[np.float64]

_DRAWS = 4000


class _Spread(NamedTuple):
    """How accuracies of k strategies vary.

    Attributes:
        of_seed: Variance of a strategy's accuracy over seeds, what all share apart; their mean,
            as five seeds say too little of each.
        by_seeds: Variance of each difference's mean that seeds make, ``(k, k)``.
        by_units: Covariance of means that units make which all seeds share, ``(k, k)``.
    """

    of_seed: float
    by_seeds: Floats
    by_units: Floats


def p_behind_best(values: Floats, sizes: Floats) -> Floats:
    """Return, for each of k strategies, the p-value of being as good as the most accurate one.

    The chance that among k equal strategies any is found as far behind the best as this one.

    Args:
        values: How many of each unit's examples each strategy gets right with each seed, shape
            ``(k, S, G)``, S > 1, G > 1; units are examples or groups of them.
        sizes: How many examples that are, shape ``(S, G)``.

    Returns:
        Shape ``(k,)``; 1 for the most accurate.
    """
    _, seeds, units = values.shape
    each = values.sum(2) / sizes.sum(1)
    means = each.mean(1)
    best = int(means.argmax())
    spread = _spread(values, sizes, each)
    variance_by_units = _of_differences(spread.by_units)[best]
    found = _p_values(
        means[best] - means, spread.by_seeds[best], variance_by_units, seeds - 1, units - 1
    )
    found[best] = 1.0
    smallest = _smallest_if_equal(spread, seeds, units)
    p: Floats = (1 + (smallest[:, None] <= found).sum(0)) / (1 + len(smallest))
    p[best] = 1.0
    return p


def _spread(values: Floats, sizes: Floats, each: Floats) -> _Spread:
    count, seeds, units = values.shape
    apart = each - each.mean(1, keepdims=True)
    differences = np.square(apart[:, None] - apart[None]).sum(2) / (seeds - 1)
    of_seed = float(differences.sum()) / (2 * count * (count - 1))
    residual = (values - each[:, :, None] * sizes) / sizes.sum(1)[None, :, None]
    # Products of different seeds share nothing but the unit.
    together = residual.sum(1)
    flat = residual.reshape(count, -1)
    shared = together @ together.T - flat @ flat.T
    by_units = shared / (seeds * (seeds - 1)) * units / (units - 1)
    return _Spread(of_seed, differences / seeds, by_units)


def _of_differences(covariance: Floats) -> Floats:
    """Return the variance of every difference, ``(k, k)``, none below 0."""
    own = covariance.diagonal()
    found: Floats = np.maximum(0.0, own[:, None] + own[None] - 2 * covariance)
    return found


def _smallest_if_equal(spread: _Spread, seeds: int, units: int) -> Floats:
    """Return draws of the smallest p-value of k equal strategies against the best of them."""
    count = len(spread.by_units)
    lots = generator(0, "behind-best", count, seeds, units)
    values, vectors = np.linalg.eigh(spread.by_units)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    by_units = lots.normal(size=(_DRAWS, count)) @ root.T
    of_seeds = lots.normal(size=(_DRAWS, seeds, count)) * np.sqrt(spread.of_seed)
    means = by_units + of_seeds.mean(1)
    best = means.argmax(1)
    at = np.arange(_DRAWS)
    ahead = of_seeds[at, :, best][:, :, None] - of_seeds
    by_seeds = ahead.var(1, ddof=1) / seeds
    chance = lots.chisquare(units - 1, size=(_DRAWS, 1)) / (units - 1)
    by_shared = _of_differences(root @ root.T)[best] * chance
    p = _p_values(means[at, best][:, None] - means, by_seeds, by_shared, seeds - 1, units - 1)
    p[at, best] = 1.0
    smallest: Floats = p.min(1)
    return smallest


def _p_values(
    ahead: Floats, by_seeds: Floats, by_units: Floats, of_seeds: int, of_units: int
) -> Floats:
    """Return two-sided p-values of differences; 1 for none at all.

    Args:
        ahead: The differences, not negative.
        by_seeds: Their variance that seeds make, on ``of_seeds`` degrees of freedom.
        by_units: That units make, on ``of_units``.
        of_seeds: See there.
        of_units: See there.
    """
    from scipy.special import stdtr

    variance = np.maximum(by_seeds + by_units, 1e-30)
    freedom = variance**2 / np.maximum(by_seeds**2 / of_seeds + by_units**2 / of_units, 1e-60)
    p: Floats = 2 * stdtr(np.clip(freedom, 1.0, None), -ahead / np.sqrt(variance))
    return np.where(ahead > 1e-12, p, 1.0)

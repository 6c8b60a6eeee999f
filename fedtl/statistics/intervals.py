"""Confidence intervals of accuracies and of their differences, over examples or whole groups.

Where examples belong together (a patient's, a slide's) they are not independent, and an interval
that counts them one by one is too narrow. Everything here takes sums over groups; an example that
stands for itself is a group of one, and the interval is then the plain one.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_Z = 1.959963984540054
# Fewer clients than this say nothing of how clients differ.
FEWEST_CLIENTS = 3


class Interval(NamedTuple):
    """A 95 % confidence interval; fractions."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Clusters:
    """What the groups of n scored examples add up to; c_g of a group's n_g examples are right.

    Attributes:
        groups: How many there are, G.
        examples: n = Σ n_g.
        correct: c = Σ c_g.
        square_examples: Σ n_g².
        square_correct: Σ c_g².
        cross: Σ c_g n_g.
    """

    groups: int
    examples: int
    correct: int
    square_examples: int
    square_correct: int
    cross: int

    @classmethod
    def of(cls, right: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Clusters:
        """Return the sums of n examples.

        Args:
            right: Whether each is right, shape ``(n,)``.
            groups: The group of each, shape ``(n,)``; ``None`` if each stands for itself.
        """
        sizes, correct = _by_group(np.ones(len(right), np.int64), right.astype(np.int64), groups)
        return cls(
            groups=len(sizes),
            examples=int(sizes.sum()),
            correct=int(correct.sum()),
            square_examples=int(sizes @ sizes),
            square_correct=int(correct @ correct),
            cross=int(correct @ sizes),
        )

    def __add__(self, other: Clusters) -> Clusters:
        return Clusters(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        """Return the six sums, in the order of the attributes."""
        return (
            self.groups,
            self.examples,
            self.correct,
            self.square_examples,
            self.square_correct,
            self.cross,
        )

    @property
    def interval(self) -> Interval | None:
        """The accuracy's; ``None`` if nothing was scored. See :func:`accuracy_interval`."""
        return accuracy_interval(self)


NO_CLUSTERS = Clusters(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Pairs:
    """What two heads, ours and another, got right of the same n examples.

    d_g is by how many of a group's n_g examples ours is ahead.

    Attributes:
        both: Examples that both got right.
        only_other: That only the other got right.
        only_ours: That only ours got right.
        neither: That both got wrong.
        groups: Number of groups, G.
        groups_other: Groups of which the other got more right, d_g < 0.
        groups_ours: Groups of which ours got more right, d_g > 0.
        square_examples: Σ n_g².
        square_ahead: Σ d_g².
        cross: Σ d_g n_g.
    """

    both: int
    only_other: int
    only_ours: int
    neither: int
    groups: int
    groups_other: int
    groups_ours: int
    square_examples: int
    square_ahead: int
    cross: int

    @classmethod
    def of(
        cls,
        other: NDArray[np.bool_],
        ours: NDArray[np.bool_],
        groups: NDArray[np.int64] | None,
    ) -> Pairs:
        """Return the counts of n examples.

        Args:
            other: Whether the other head is right on each, shape ``(n,)``.
            ours: Whether ours is, shape ``(n,)``.
            groups: The group of each, shape ``(n,)``; ``None`` if each stands for itself.
        """
        ahead = ours.astype(np.int64) - other.astype(np.int64)
        sizes, leads = _by_group(np.ones(len(ours), np.int64), ahead, groups)
        return cls(
            both=int((ours & other).sum()),
            only_other=int((other & ~ours).sum()),
            only_ours=int((ours & ~other).sum()),
            neither=int((~ours & ~other).sum()),
            groups=len(sizes),
            groups_other=int((leads < 0).sum()),
            groups_ours=int((leads > 0).sum()),
            square_examples=int(sizes @ sizes),
            square_ahead=int(leads @ leads),
            cross=int(leads @ sizes),
        )

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        """Return the ten counts, in the order of the attributes."""
        return (
            self.both,
            self.only_other,
            self.only_ours,
            self.neither,
            self.groups,
            self.groups_other,
            self.groups_ours,
            self.square_examples,
            self.square_ahead,
            self.cross,
        )

    @property
    def examples(self) -> int:
        """Examples that both heads were scored on, n."""
        return self.both + self.only_other + self.only_ours + self.neither

    @property
    def gain(self) -> float:
        """Our accuracy minus the other's; NaN if nothing was scored."""
        return (self.only_ours - self.only_other) / self.examples if self.examples else math.nan

    @property
    def interval(self) -> Interval | None:
        """The gain's; ``None`` if nothing was scored. See :func:`gain_interval`."""
        return gain_interval(self)


def _by_group(
    ones: NDArray[np.int64], values: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the size of each group and the sum of its values."""
    if groups is None or not len(groups):
        return ones, values
    _, at = np.unique(groups, return_inverse=True)
    sizes = np.bincount(at)
    return sizes, np.bincount(at, weights=values, minlength=len(sizes)).astype(np.int64)


def wilson(share: float, n: float) -> Interval:
    """Return Wilson's score interval of a share among n trials; n need not be whole.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.
    """
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def accuracy_interval(scored: Clusters) -> Interval | None:
    """Return the 95 % interval of an accuracy; ``None`` if nothing was scored.

    Wilson's, with the number of examples divided by the design effect: how many times larger the
    variance of the share over whole groups, a ratio estimate, is than over as many independent
    examples. That variance rests on G groups, so that n shrinks by (z/t)² besides, with Student's t
    for G - 1 degrees of freedom (Korn & Graubard, "Confidence Intervals for Proportions with Small
    Expected Number of Positive Counts Estimated from Survey Data", Survey Methodology 24, 1998;
    Franco, Little, Louis & Slud, Journal of Survey Statistics and Methodology 7, 2019, compare such
    intervals). If all or none are right there is no variance to estimate, and n is Kish's
    (Σ n_g)² / Σ n_g².
    """
    n = scored.examples
    if not n:
        return None
    share = scored.correct / n
    spread = scored.square_correct - 2 * share * scored.cross + share**2 * scored.square_examples
    plain = share * (1 - share) / n
    return wilson(share, _effective(n, scored.groups, scored.square_examples, spread, plain))


def gain_interval(pairs: Pairs) -> Interval | None:
    """Return the 95 % interval of a difference of two accuracies on the same examples.

    Newcombe's method 10 ("Improved Confidence Intervals for the Difference Between Binomial
    Proportions Based on Paired Data", Statistics in Medicine 17, 1998): Wilson's intervals of both,
    joined by the correlation of the pairs. With groups, all counts are scaled as in
    :func:`accuracy_interval`, by the design effect of the difference. ``None`` if nothing was
    scored.
    """
    n = pairs.examples
    if not n:
        return None
    gain = pairs.gain
    spread = pairs.square_ahead - 2 * gain * pairs.cross + gain**2 * pairs.square_examples
    plain = ((pairs.only_ours + pairs.only_other) / n - gain**2) / n
    effective = _effective(n, pairs.groups, pairs.square_examples, spread, plain)
    a, b, c, d = (
        count * effective / n
        for count in (pairs.both, pairs.only_ours, pairs.only_other, pairs.neither)
    )
    ours, other = (a + b) / effective, (a + c) / effective
    (low_1, high_1), (low_2, high_2) = wilson(ours, effective), wilson(other, effective)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    odds = a * d - b * c
    if odds > 0:
        odds = max(odds - effective / 2, 0.0)
    phi = odds / math.sqrt(margins) if margins else 0.0
    below, above = ours - low_1, high_2 - other
    down = math.sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    below, above = other - low_2, high_1 - ours
    up = math.sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    return Interval(max(-1.0, gain - down), min(1.0, gain + up))


def _effective(n: int, groups: int, square_examples: int, spread: float, plain: float) -> float:
    """Return how many independent examples n in groups are worth.

    Args:
        n: Examples.
        groups: G.
        square_examples: Σ n_g².
        spread: Σ of the squared deviations of the groups' totals from what the mean has of them.
        plain: The variance of the mean of n independent examples.
    """
    if groups == n:
        return n
    if groups < 2 or plain <= 0 or spread <= 0:
        return n**2 / square_examples
    variance = groups / (groups - 1) * spread / n**2
    # Groups that by chance are more alike than independent examples are worth no more than those.
    return min(n, n * plain / variance) * (_Z / _student(groups - 1)) ** 2


def _student(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def mean_interval(values: NDArray[np.float64]) -> Interval | None:
    """Return Student's 95 % interval of a mean over seeds; ``None`` below two."""
    if len(values) < 2:
        return None
    half = _student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(float(values.mean()) - half, float(values.mean()) + half)


def gain_over_clients(pairs: Sequence[Pairs]) -> Interval | None:
    """Return the 95 % interval of Σ dₖ / Σ nₖ over clients drawn anew: what others would gain.

    Student's, with the variance of a ratio estimate over clients. With ten unequal clients it
    covers in 94 of 100 simulated federations, as the bootstrap-t over clients does with intervals
    an eighth wider; with four clients in 93, with intervals of half the width.

    Clients that by chance are more alike than their examples would have them (all gains the same,
    at worst) are no surer for that: on neither side is it narrower than :func:`gain_interval` of
    all their examples together. It then covers in 94 to 99 of 100. With fewer than
    :data:`FEWEST_CLIENTS`, it is that interval: of what these clients gain, and not others.

    Args:
        pairs: What each client's head and its own got right.

    Returns:
        ``None`` if nothing was scored.
    """
    examples = np.array([one.examples for one in pairs], np.int64)
    total = int(examples.sum())
    if not total:
        return None
    together = functools.reduce(operator.add, pairs)
    sampled = gain_interval(together)
    assert sampled is not None
    clients = len(pairs)
    if clients < FEWEST_CLIENTS:
        return sampled
    gain = together.gain
    ahead = np.array([one.only_ours - one.only_other for one in pairs], np.int64)
    residual = ahead - gain * examples
    variance = clients / (clients - 1) * float(np.square(residual).sum())
    half = _student(clients - 1) * math.sqrt(variance) / total
    return Interval(
        max(-1.0, min(gain - half, sampled.low)), min(1.0, max(gain + half, sampled.high))
    )

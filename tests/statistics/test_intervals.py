"""Intervals of accuracies and gains: known values, coverage by simulation, and groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import binomtest, norm, t, ttest_1samp

from fedtl.statistics.intervals import (
    Clusters,
    Pairs,
    gain_interval,
    gain_over_clients,
    mean_interval,
    wilson,
)

_DRAWS = 1200
# Of 1,200 draws at 95 %, all but one set in ten thousand lies within 2.5 points of it.
_LOW, _HIGH = 0.925, 0.975


@given(st.integers(1, 400), st.data())
def test_wilson_is_scipys(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    theirs = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson(correct / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_examples_that_stand_for_themselves_have_wilsons_interval() -> None:
    right = np.arange(46) < 38
    alone = Clusters.of(right, None)
    assert alone == Clusters.of(right, np.arange(46))
    assert alone.interval == wilson(38 / 46, 46)


# Newcombe (1998), Statistics in Medicine 17, 2635-2650, examples of method 10.
@pytest.mark.parametrize(
    ("both", "only_ours", "only_other", "neither", "low", "high"),
    [
        (36, 12, 2, 0, 0.0569, 0.3404),
        (36, 14, 0, 0, 0.1528, 0.4167),
    ],
)
def test_gain_interval_is_newcombes(
    both: int, only_ours: int, only_other: int, neither: int, low: float, high: float
) -> None:
    pairs = _paired(both, only_other, only_ours, neither)
    assert pairs.interval is not None
    assert pairs.interval == pytest.approx((low, high), abs=2e-3)


def test_pairs_count_examples_and_groups() -> None:
    other = np.array([1, 1, 0, 0, 1, 0], bool)
    ours = np.array([1, 0, 1, 1, 1, 0], bool)
    groups = np.array([7, 7, 7, 3, 3, 9])
    pairs = Pairs.of(other, ours, groups)
    assert (pairs.both, pairs.only_other, pairs.only_ours, pairs.neither) == (2, 1, 2, 1)
    # Of group 7 ours is 0 ahead of 3, of group 3 one ahead of 2, of group 9 none of 1.
    assert (pairs.groups, pairs.groups_ours, pairs.groups_other) == (3, 1, 0)
    assert (pairs.square_examples, pairs.square_ahead, pairs.cross) == (14, 1, 2)
    assert pairs.gain == pytest.approx(1 / 6)
    assert (pairs + pairs).examples == 12


def test_groups_of_equal_outcomes_count_once() -> None:
    right = np.repeat(np.arange(40) < 30, 25)
    grouped = Clusters.of(right, np.repeat(np.arange(40), 25)).interval
    forty = wilson(0.75, 40)
    assert grouped is not None
    assert grouped.low < forty.low + 0.02
    assert grouped.high > forty.high - 0.02


def _effective(values: NDArray[np.float64], sizes: NDArray[np.int64], plain: float) -> float:
    """Return how many independent examples groups are worth, as Korn & Graubard have it.

    The ratio estimate's variance over G groups, from its residuals; n shrinks by the design effect,
    and by (z/t)² with G - 1 degrees of freedom.
    """
    groups, n = len(sizes), sizes.sum()
    residual = values - values.sum() / n * sizes
    variance = groups / (groups - 1) * (residual**2).sum() / n**2
    effect = max(1.0, variance / plain)
    return float(n / effect * (norm.ppf(0.975) / t.ppf(0.975, groups - 1)) ** 2)


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_worth_what_their_design_effect_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, 7)
    groups = np.repeat(np.arange(7), sizes)
    right = rng.random(len(groups)) < rng.random(7)[groups]
    share = right.mean()
    correct = np.bincount(groups, weights=right)
    worth = _effective(correct, sizes, share * (1 - share) / len(groups))
    assert worth < len(groups)
    assert Clusters.of(right, groups).interval == pytest.approx(wilson(share, worth))


def test_groups_that_are_all_right_are_worth_what_kish_says() -> None:
    sizes = np.array([1, 2, 3, 9])
    groups = np.repeat(np.arange(4), sizes)
    worth = sizes.sum() ** 2 / (sizes**2).sum()
    found = Clusters.of(np.ones(15, bool), groups).interval
    assert found == pytest.approx(wilson(1.0, worth))


def test_gains_of_clients_drawn_anew_have_students_interval() -> None:
    """Of a ratio estimate over five clients, which here are less alike than their examples."""
    each = [_paired(4, 9, 1, 6), _paired(10, 0, 12, 2), _paired(3, 1, 2, 30), _paired(2, 8, 2, 1)]
    each.append(_paired(9, 0, 9, 0))
    sizes = np.array([one.examples for one in each])
    ahead = np.array([one.only_ours - one.only_other for one in each])
    gain = ahead.sum() / sizes.sum()
    variance = 5 / 4 * ((ahead - gain * sizes) ** 2).sum() / sizes.sum() ** 2
    half = t.ppf(0.975, 4) * np.sqrt(variance)
    assert gain_over_clients(each) == pytest.approx((gain - half, gain + half))


def test_nothing_scored_has_no_interval() -> None:
    nothing = np.zeros(0, bool)
    assert Clusters.of(nothing, None).interval is None
    assert Pairs.of(nothing, nothing, None).interval is None
    assert math.isnan(Pairs.of(nothing, nothing, None).gain)


def _grouped_outcomes(
    rng: np.random.Generator, n: int, size: int, shares: tuple[float, float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Draw whether two heads are right: correlated, and alike within groups."""
    groups = np.repeat(np.arange(n // size), size)
    shared = rng.normal(size=n // size)[groups] + rng.normal(size=n)
    own = rng.normal(size=(2, n // size))[:, groups] + rng.normal(size=(2, n))
    first, second = (shared + one for one in own)
    return first < 2 * ndtri(shares[0]), second < 2 * ndtri(shares[1]), groups


@pytest.mark.parametrize(("n", "size"), [(46, 1), (400, 1), (120, 4), (300, 10)])
def test_intervals_of_accuracy_cover(n: int, size: int) -> None:
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(_DRAWS):
        right, _, groups = _grouped_outcomes(rng, n, size, (0.85, 0.85))
        interval = Clusters.of(right, None if size == 1 else groups).interval
        assert interval is not None
        covered += interval.low <= 0.85 <= interval.high
    assert _LOW <= covered / _DRAWS <= _HIGH


def test_intervals_that_count_examples_of_groups_one_by_one_are_too_narrow() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(_DRAWS):
        right, _, _ = _grouped_outcomes(rng, 300, 10, (0.85, 0.85))
        interval = Clusters.of(right, None).interval
        assert interval is not None
        covered += interval.low <= 0.85 <= interval.high
    assert covered / _DRAWS < 0.85


@pytest.mark.parametrize(("n", "size"), [(100, 1), (400, 1), (300, 10)])
def test_intervals_of_a_gain_cover(n: int, size: int) -> None:
    rng = np.random.default_rng(n + 1)
    covered = 0
    for _ in range(_DRAWS):
        other, ours, groups = _grouped_outcomes(rng, n, size, (0.8, 0.88))
        interval = Pairs.of(other, ours, None if size == 1 else groups).interval
        assert interval is not None
        covered += interval.low <= 0.08 <= interval.high
    # Newcombe's is conservative for small samples.
    assert _LOW <= covered / _DRAWS <= 0.99


def _paired(both: int, only_other: int, only_ours: int, neither: int) -> Pairs:
    """Return the counts of examples that each stand for themselves."""
    n = both + only_other + only_ours + neither
    return Pairs(
        both=both,
        only_other=only_other,
        only_ours=only_ours,
        neither=neither,
        groups=n,
        groups_other=only_other,
        groups_ours=only_ours,
        square_examples=n,
        square_ahead=only_ours + only_other,
        cross=only_ours - only_other,
    )


@pytest.mark.parametrize(("deviation", "most"), [(0.0, 0.99), (0.05, _HIGH)])
def test_intervals_over_clients_cover(deviation: float, most: float) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(_DRAWS):
        sizes = rng.integers(14, 140, 10)
        gains = np.clip(rng.normal(0.05, deviation, 10), -0.2, 0.2)
        pairs = [
            _paired(*rng.multinomial(size, [0.7, 0.1 - gain / 2, 0.1 + gain / 2, 0.1]))
            for size, gain in zip(sizes, gains, strict=True)
        ]
        interval = gain_over_clients(pairs)
        assert interval is not None
        covered += interval.low <= 0.05 <= interval.high
    assert _LOW <= covered / _DRAWS <= most


def test_clients_that_gain_alike_are_no_surer_than_their_examples() -> None:
    interval = gain_over_clients([_paired(15, 1, 3, 1)] * 4)
    assert interval == gain_interval(_paired(60, 4, 12, 4))
    assert interval is not None and interval.high - interval.low > 0.1


def test_two_clients_tell_what_they_gain_themselves() -> None:
    assert gain_over_clients([_paired(8, 1, 1, 0), _paired(7, 1, 2, 0)]) == gain_interval(
        _paired(15, 2, 3, 0)
    )
    assert gain_over_clients([]) is None


def test_intervals_over_seeds_are_students() -> None:
    values = np.array([0.91, 0.88, 0.93, 0.9, 0.86])
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert mean_interval(values[:1]) is None

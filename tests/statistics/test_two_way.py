"""Means over seeds and examples, held against analysis of variance, resampling and known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, stdtrit

from fedtl.statistics.two_way import TwoWay

Floats = NDArray[np.float64]
SEEDS = 5


def _right(
    rng: np.random.Generator, spreads: tuple[float, float, float], units: int, size: int
) -> tuple[Floats, float]:
    """Return how many of each unit's examples are right, shape ``(S, G)``, and the true share.

    A probit model: what is right depends on the seed, on the unit, on the example (1), and on each
    example at each seed, with these standard deviations.
    """
    of_seed, of_unit, of_cell = spreads
    ease = (
        1.3
        + of_seed * rng.normal(size=(SEEDS, 1, 1))
        + of_unit * rng.normal(size=(1, units, 1))
        + rng.normal(size=(1, units, size))
        + of_cell * rng.normal(size=(SEEDS, units, size))
    )
    total = math.sqrt(1 + of_seed**2 + of_unit**2 + of_cell**2)
    return (ease > 0).sum(2).astype(float), float(ndtr(1.3 / total))


MODELS = {
    "seeds differ": ((0.2, 0.3, 0.3), 400, 1),
    "examples differ": ((0.01, 0.3, 0.2), 400, 1),
    "both": ((0.07, 0.3, 0.5), 400, 1),
    "neither": ((0.0, 0.0, 2.0), 400, 1),
    "groups": ((0.07, 0.5, 0.5), 40, 8),
}


@pytest.mark.parametrize("model", MODELS)
def test_five_seeds_intervals_cover_as_often_as_they_say(model: str) -> None:
    spreads, units, size = MODELS[model]
    rng = np.random.default_rng(3)
    hits = alone = 0
    trials = 1200
    for _ in range(trials):
        right, truth = _right(rng, spreads, units, size)
        found = TwoWay.of(right, np.full_like(right, size))
        span = found.share_interval
        assert span is not None
        hits += span.low <= truth <= span.high
        each = right.mean(1) / size
        half = stdtrit(SEEDS - 1, 0.975) * each.std(ddof=1) / math.sqrt(SEEDS)
        alone += abs(each.mean() - truth) <= half
    # Twice the standard error of 1,200 trials is 1.3.
    assert 0.93 <= hits / trials <= 0.98
    if model in ("examples differ", "both", "groups"):
        assert alone / trials < 0.9, "a t-test over seeds alone does not see the examples"


@pytest.mark.parametrize("model", MODELS)
def test_differences_of_equals_cover_nought(model: str) -> None:
    """The false-alarm rate of one test is at most .05, but for chance."""
    (of_seed, of_unit, of_cell), units, size = MODELS[model]
    rng = np.random.default_rng(4)
    alarms, trials = 0, 1000
    for _ in range(trials):
        shared = rng.normal(size=(1, units, size)) + of_unit * rng.normal(size=(1, units, 1))
        first, second = (
            (
                1.3
                + shared
                + 0.4 * rng.normal(size=(1, units, size))
                + of_seed * rng.normal(size=(SEEDS, 1, 1))
                + of_cell * rng.normal(size=(SEEDS, units, size))
                > 0
            ).sum(2)
            for _ in range(2)
        )
        found = TwoWay.of((first - second).astype(float), np.full((SEEDS, units), float(size)))
        span = found.interval
        assert span is not None
        alarms += not span.low <= 0 <= span.high
    assert alarms / trials <= 0.065


def test_the_variance_is_that_of_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 1)) + rng.normal(size=(1, 9)) + rng.normal(size=(4, 9))
    found = TwoWay.of(values, np.ones((4, 9)))
    of_seeds = of_units = rest = 0.0
    for s in range(4):
        of_seeds += 9 * (values[s].mean() - values.mean()) ** 2 / 3
        for g in range(9):
            fitted = values[s].mean() + values[:, g].mean() - values.mean()
            rest += (values[s, g] - fitted) ** 2 / (3 * 8)
    for g in range(9):
        of_units += 4 * (values[:, g].mean() - values.mean()) ** 2 / 8
    assert of_units > rest
    assert found.mean == pytest.approx(values.mean())
    assert found.between_seeds == pytest.approx(of_seeds / 36)
    assert found.between_units == pytest.approx((of_units - rest) / 36)


def test_many_seeds_give_the_spread_of_the_pigeonhole_bootstrap() -> None:
    rng = np.random.default_rng(1)
    sizes = np.broadcast_to(rng.integers(1, 6, 80).astype(float), (40, 80))
    ease = 0.4 * rng.normal(size=(40, 1)) + rng.normal(size=(1, 80))
    values = rng.binomial(sizes.astype(int), stats.norm.cdf(0.8 + ease)).astype(float)
    found = TwoWay.of(values, sizes)
    means = []
    for _ in range(4000):
        seeds, units = rng.integers(0, 40, 40), rng.integers(0, 80, 80)
        drawn = np.ix_(seeds, units)
        means.append(values[drawn].sum() / sizes[drawn].sum())
    ours = math.sqrt(found.between_seeds + found.between_units)
    assert ours == pytest.approx(np.std(means), rel=0.06)


def test_examples_that_no_two_seeds_share_leave_the_variance_between_seeds() -> None:
    rng = np.random.default_rng(2)
    values, sizes = np.zeros((2, 6, 60))
    for seed in range(6):
        here = slice(10 * seed, 10 * seed + 10)
        sizes[seed, here] = 1
        values[seed, here] = rng.random(10) < 0.7
    found = TwoWay.of(values, sizes)
    each = values.sum(1) / 10
    assert found.between_units == 0
    span = found.interval
    assert span is not None
    expected = stats.t.interval(0.95, 5, each.mean(), stats.sem(each))
    assert span == pytest.approx(expected)
    assert TwoWay.of(values - 0.7 * sizes, sizes).p == pytest.approx(
        stats.ttest_1samp(each, 0.7).pvalue, rel=1e-6
    )


def test_one_seed_tells_the_spread_of_examples_alone() -> None:
    right = (np.random.default_rng(3).random(200) < 0.8).astype(float)
    span = TwoWay.of(right[None], np.ones((1, 200))).interval
    assert span == pytest.approx(stats.t.interval(0.95, 199, right.mean(), stats.sem(right)))


@pytest.mark.parametrize(
    ("values", "p"),
    [
        (np.zeros((3, 5)), 1.0),
        (np.ones((3, 5)), 0.0),
        (np.ones((3, 1)), math.nan),
    ],
)
def test_what_does_not_vary_needs_no_test(values: Floats, p: float) -> None:
    assert TwoWay.of(values, np.ones_like(values)).p == pytest.approx(p, nan_ok=True)


def test_all_right_still_leaves_an_interval() -> None:
    span = TwoWay.of(np.ones((5, 50)), np.ones((5, 50))).share_interval
    assert span == pytest.approx(stats.binomtest(50, 50).proportion_ci(method="wilson"))


@pytest.mark.parametrize("seed", range(5))
def test_p_is_below_a_twentieth_where_the_interval_leaves_out_nought(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = 0.08 * rng.random() + rng.normal(size=(5, 30)) / 8
    found = TwoWay.of(values, np.ones((5, 30)))
    span = found.interval
    assert span is not None
    assert (found.p < 0.05) == (not span.low <= 0 <= span.high)

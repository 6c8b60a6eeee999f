"""Who is behind the best of many: how often equals are called so, and how often it is found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedtl.statistics import behind_best
from fedtl.statistics.behind_best import _of_differences, p_behind_best
from fedtl.statistics.two_way import TwoWay
from fedtl.statistics.verdicts import holm

Floats = NDArray[np.float64]
SEEDS, EXAMPLES, TRIALS = 5, 200, 200
SIZES = np.ones((SEEDS, EXAMPLES))
# Standard deviations of a probit model: of seeds, of examples at a strategy, of examples at a seed.
MODELS = {
    "seeds differ": (0.08, 0.1, 0.3),
    "examples differ": (0.01, 0.4, 0.2),
    "both": (0.05, 0.3, 0.3),
}


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the draws, which are what takes the time.

    With 299, fifteen p-values in 300 are at most 5 %, so that the false-alarm rate stays that.
    """
    monkeypatch.setattr(behind_best, "_DRAWS", 299)


def _right(rng: np.random.Generator, count: int, model: str, behind: float = 0.0) -> Floats:
    """Return what strategies of equal accuracy get right, the first one ``behind`` probits less.

    The first half is the same at every seed, as closed forms are.
    """
    of_seed, of_unit, of_cell = MODELS[model]
    spread = np.full((count, 1, 1), of_seed)
    spread[: count // 2] = 0
    ease = (
        1.3
        + rng.normal(size=(1, 1, EXAMPLES))
        + of_unit * rng.normal(size=(count, 1, EXAMPLES))
        + spread * rng.normal(size=(count, SEEDS, 1))
        + of_cell * rng.normal(size=(count, SEEDS, EXAMPLES))
    )
    ease[0] -= behind
    return (ease > 0).astype(float)


def _by_holm(right: Floats) -> float:
    """Return the smallest p-value of tests that do not know how the best was chosen."""
    best, *others = sorted(right, key=lambda one: -one.mean())
    return min(holm([TwoWay.of(best - other, SIZES).p for other in others]))


@pytest.mark.parametrize("count", [5, 20])
@pytest.mark.parametrize("model", MODELS)
def test_equals_are_rarely_called_behind(model: str, count: int) -> None:
    rng = np.random.default_rng(count)
    stars = sum(p_behind_best(_right(rng, count, model), SIZES).min() < 0.05 for _ in range(TRIALS))
    # Twice the standard error of 200 trials is 3 of 100.
    assert stars / TRIALS <= 0.08


def test_tests_that_do_not_know_of_the_choice_find_too_many() -> None:
    rng = np.random.default_rng(1)
    stars = sum(_by_holm(_right(rng, 20, "seeds differ")) < 0.05 for _ in range(60))
    assert stars / 60 > 0.08


@pytest.mark.parametrize(
    ("model", "count", "power"),
    [("seeds differ", 5, 0.7), ("examples differ", 5, 0.8), ("examples differ", 20, 0.55)],
)
def test_who_is_behind_is_found(model: str, count: int, power: float) -> None:
    """A quarter of a probit is about six points of accuracy."""
    rng = np.random.default_rng(2)
    found = sum(p_behind_best(_right(rng, count, model, 0.25), SIZES)[0] < 0.05 for _ in range(60))
    assert found / 60 >= power


def test_of_two_it_is_the_plain_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many seeds and examples, one difference: Student's t, to what draws are off by."""
    monkeypatch.setattr(behind_best, "_DRAWS", 4000)
    rng = np.random.default_rng(3)
    for _ in range(5):
        right = _right(rng, 2, "examples differ", 0.1)
        plain = TwoWay.of(right[0] - right[1], SIZES).p
        assert p_behind_best(right, SIZES).min() == pytest.approx(plain, abs=0.06)


def test_what_never_differs_is_not_behind() -> None:
    same = np.repeat((np.random.default_rng(4).random((1, SEEDS, 50)) < 0.8), 3, 0).astype(float)
    assert (p_behind_best(same, np.ones((SEEDS, 50))) == 1).all()


def test_what_strategies_share_does_not_part_them() -> None:
    """Var(a - b) = Var a + Var b - 2 Cov(a, b), as of draws."""
    root = np.array([[1.0, 0.0, 0.0], [0.9, 0.2, 0.0], [-0.5, 0.3, 2.0]])
    draws = np.random.default_rng(0).normal(size=(200_000, 3)) @ root.T
    expected = (draws[:, :, None] - draws[:, None]).var(0)
    np.testing.assert_allclose(_of_differences(root @ root.T), expected, rtol=0.02, atol=1e-12)

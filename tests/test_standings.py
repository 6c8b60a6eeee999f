"""Means over seeds, paired tests and their correction, held against scipy and by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedtl.comparison.plan import Cell, Plan
from fedtl.comparison.result import CellResult, ClientScore, RoundPoint
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import Spread, holm, p_value, standings
from fedtl.config import RunConfig

_SCORES = ("accuracy", "balanced_accuracy", "mean_client_accuracy", "worst_client_accuracy")
_WAYS = ("federated", "local_only", "centralised")


def _result(
    cell: Cell, accuracies: Sequence[float], gains: Sequence[float | None] = (0.1,)
) -> CellResult:
    scores = dict.fromkeys(_SCORES, accuracies[-1])
    return CellResult(
        config=cell.config.to_mapping(),
        scores={way: dict(scores) for way in _WAYS},
        scored_on="the test split",
        rounds=[RoundPoint(at + 1, a, 100 * (at + 1)) for at, a in enumerate(accuracies)],
        clients=[ClientScore(10, 0.5, None if gain is None else 0.5 + gain, 0.6) for gain in gains],
        failures=0,
        bytes_up=1,
        bytes_down=2,
        seconds=0.5,
        head_sha256="",
    )


def _compared(curves: dict[str, list[Sequence[float]]], target: float = 0.0) -> Compared:
    """Return a comparison whose strategies have these accuracies by round, a curve per seed."""
    plan = Plan(RunConfig(), tuple(curves), len(next(iter(curves.values()))), target=target)
    results = {
        cell: _result(cell, curves[cell.strategy][cell.config.seed]) for cell in plan.cells()
    }
    return Compared(plan, results, {}, {})


def test_the_spread_is_that_of_a_sample() -> None:
    values = [0.2, None, 0.5, 0.9]
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean([0.2, 0.5, 0.9]))
    assert spread.sd == pytest.approx(np.std([0.2, 0.5, 0.9], ddof=1))
    assert spread.count == 3
    assert math.isnan(Spread.of([0.3]).sd)
    assert math.isnan(Spread.of([]).mean)


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=8).filter(lambda x: np.ptp(x) > 1e-3),
    st.floats(-0.5, 0.5),
)
def test_p_values_are_those_of_a_paired_t_test(first: list[float], shift: float) -> None:
    second = [shift * value * value for value in first]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if len(set(differences)) > 1:
        expected = stats.ttest_rel(first, second).pvalue
        assert p_value(differences) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_equal_differences_need_no_test() -> None:
    assert p_value([0.0, 0.0, 0.0]) == 1.0
    assert p_value([0.25, 0.25]) == 0.0
    assert p_value([0.9 - 0.7, 0.8 - 0.6, 0.5 - 0.3]) == 0.0, "but for rounding"
    assert math.isnan(p_value([0.25]))


def test_holms_correction_by_hand() -> None:
    """Holm 1979: the smallest of m by m, the next by m - 1, never less than the one before."""
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_no_more_than_no_correction_and_no_less_than_bonferroni(
    p_values: list[float],
) -> None:
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_the_most_accurate_is_first_and_who_is_clearly_behind_is_marked() -> None:
    at = standings(
        _compared(
            {
                "fedavg": [[0.70], [0.71], [0.69], [0.70]],
                "fed3r": [[0.90], [0.91], [0.89], [0.90]],
                "fedprox": [[0.80], [0.99], [0.70], [0.91]],
            }
        )
    )[0]
    assert [row.strategy for row in at.rows] == ["fed3r", "fedprox", "fedavg"]
    assert [row.behind for row in at.rows] == [False, False, True]
    found = at.differences["fed3r", "fedavg"]
    assert found.mean == pytest.approx(0.2)
    assert at.differences["fedavg", "fed3r"].mean == -found.mean
    noisy = at.differences["fed3r", "fedprox"]
    assert not noisy.significant
    raw = stats.ttest_rel([0.90, 0.91, 0.89, 0.90], [0.80, 0.99, 0.70, 0.91]).pvalue
    assert noisy.p >= raw


def test_rounds_and_bytes_count_to_the_first_round_that_reaches_the_target() -> None:
    curves = {
        "fedavg": [[0.1, 0.5, 0.4, 0.9], [0.5, 0.6, 0.7, 0.8]],
        "fedprox": [[0.1, 0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.4]],
    }
    first, second = standings(_compared(curves, target=0.5))[0].rows
    assert (first.strategy, first.reached) == ("fedavg", 2)
    assert first.rounds.mean == (2 + 1) / 2
    assert first.bytes.mean == (200 + 100) / 2
    assert (second.reached, second.rounds.mean) == (1, 4)
    by_default = standings(_compared(curves))[0]
    assert by_default.target == pytest.approx(0.95 * 0.85)


def test_harmed_are_those_below_their_own_head() -> None:
    plan = Plan(RunConfig(), ("fedavg",), 1)
    cell = next(plan.cells())
    result = _result(cell, [0.9], gains=[-0.1, 0.0, 0.2, None, -0.01])
    assert result.harmed == 2
    assert standings(Compared(plan, {cell: result}, {}, {}))[0].rows[0].harmed.mean == 2
    assert CellResult.from_json(result.to_json()) == result


def test_who_is_behind_is_corrected_for_the_others_not_for_all_pairs() -> None:
    rng = np.random.default_rng(2)
    best = 0.9 + 0.01 * rng.normal(size=5)
    others = {f"{name}": best - 0.02 - 0.008 * rng.random(5) for name in ("fedavg", "fedprox")}
    others |= {name: best - 0.01 * rng.random(5) for name in ("fednova", "feddyn", "scaffold")}
    curves = {"fed3r": best, **others}
    at = standings(_compared({name: [[score] for score in c] for name, c in curves.items()}))[0]
    assert at.rows[0].strategy == "fed3r"
    names = [row.strategy for row in at.rows[1:]]
    raw = np.array([stats.ttest_rel(best, curves[name]).pvalue for name in names])
    order = np.argsort(raw)
    steps = np.maximum.accumulate(raw[order] * (len(raw) - np.arange(len(raw))))
    expected = {names[place] for place, p in zip(order, steps, strict=True) if p < 0.05}
    assert {row.strategy for row in at.rows if row.behind} == expected
    assert {"fedavg", "fedprox"} <= expected

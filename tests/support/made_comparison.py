"""Comparisons that are made up, run by run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedtl.comparison.marks import Marks
from fedtl.comparison.plan import Cell, Plan
from fedtl.comparison.result import CellResult, ClientScore, RoundPoint
from fedtl.comparison.runner import Compared
from fedtl.config import RunConfig
from fedtl.statistics.verdicts import Verdict

_ROWS = 400


def _figures(accuracy: float) -> dict[str, float | None]:
    names = ("accuracy", "balanced_accuracy", "mean_client_accuracy", "worst_client_accuracy")
    return {**dict.fromkeys(names, accuracy), "examples": _ROWS, "groups": _ROWS}


def result_with(
    cell: Cell,
    accuracies: Sequence[float],
    *,
    global_head: bool = True,
    own: dict[str, float] | None = None,
    verdicts: Sequence[dict[str, Verdict]] = (),
) -> CellResult:
    """Return a run whose head got these accuracies, round by round, on 400 test rows.

    Which rows are right is drawn anew for every strategy and seed, among rows of unequal
    difficulty that are the same for all.
    """
    rng = np.random.default_rng([cell.config.seed, *cell.strategy.encode()])
    ease = np.random.default_rng(1).normal(size=_ROWS) + 0.5 * rng.normal(size=_ROWS)
    right = ease >= np.sort(ease)[::-1][round(accuracies[-1] * _ROWS) - 1]
    new = {way: _figures(accuracies[-1]) for way in ("federated", "local_only", "centralised")}
    own = {"federated": 0.5, "local_only": 0.6, "centralised": 0.7, **(own or {})}
    return CellResult(
        config=cell.config.to_mapping(),
        global_head=global_head,
        own_data={way: _figures(accuracy) for way, accuracy in own.items()},
        new_data=new,
        trained=[(0.7, accuracies[-1] + step) for step in (-0.01, 0.0, 0.04)],
        rounds=[RoundPoint(at + 1, a, 100 * (at + 1)) for at, a in enumerate(accuracies)],
        marks=Marks.of(right, np.arange(_ROWS)) if global_head else None,
        clients=[ClientScore(10, {}, one) for one in verdicts],
        failures=0,
        bytes_up=1,
        bytes_down=2,
        seconds=0.5,
        head_sha256="",
    )


def comparison_of(curves: dict[str, list[Sequence[float]]], target: float = 0.0) -> Compared:
    """Return a comparison whose strategies have these accuracies by round, a curve per seed."""
    plan = Plan(RunConfig(), tuple(curves), len(next(iter(curves.values()))), target=target)
    results = {
        cell: result_with(cell, curves[cell.strategy][cell.config.seed]) for cell in plan.cells()
    }
    return Compared(plan, results, {}, {})

"""The page of a comparison that is made up."""

from __future__ import annotations

from typing import Any

from made_comparison import result_with as scored

from fedtl.comparison.plan import Plan
from fedtl.comparison.runner import Compared
from fedtl.config import RunConfig
from fedtl.report.comparison_page import comparison_page

NAMES = (
    *("fedavg", "fedprox", "fednova", "feddyn", "scaffold"),
    *("fedncm", "fedcgs", "fed3r", "afl", "fedadam"),
)


def page_of(**vary: Any) -> str:
    plan = Plan(RunConfig(), NAMES, 2, vary=vary)
    results = {}
    for cell in plan.cells():
        level = 0.5 + 0.04 * NAMES.index(cell.strategy) - 0.2 * (cell.config.option("alpha") == 1.0)
        results[cell] = scored(cell, [level - 0.1, level])
    return comparison_page(Compared(plan, results, {}, {}))

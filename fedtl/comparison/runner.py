"""A whole comparison on this machine or Ray cluster: features once, then run beside run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedtl.comparison.plan import Cell, Plan
from fedtl.comparison.result import CellResult

FeatureProgress = Callable[[int, int], None]
CellProgress = Callable[[Cell, int, int], None]


@dataclass(frozen=True)
class Compared:
    """What a comparison came to.

    Attributes:
        plan: What was compared.
        results: What each run came to; those that failed are not among them.
        failed: Why the others did.
    """

    plan: Plan
    results: dict[Cell, CellResult]
    failed: dict[Cell, str]

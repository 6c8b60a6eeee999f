"""Which colour, dashes and mark a strategy has in every chart of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedtl.comparison.standings import Standings
from fedtl.report.theme import MUTED, SERIES

_COLOURED = 5
# Compared with whatever else there is.
_ALWAYS = "fedavg"
_DASHES: tuple[tuple[float, ...], ...] = (
    (1, 0),
    (6, 2),
    (2, 1.5),
    (8, 2, 2, 2),
    (4, 1.5, 1, 1.5, 1, 1.5),
    (12, 3),
    (1, 1),
    (10, 2, 4, 2),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


class Look(NamedTuple):
    """How a strategy's lines and marks look; without a marker it is grey.

    Attributes:
        colour: A placeholder of the theme.
        dashes: Lengths of stroke and gap, in widths of the line.
        marker: Matplotlib's letter for it; empty for none.
    """

    colour: str
    dashes: tuple[float, ...]
    marker: str

    @property
    def width(self) -> float:
        """Width of its lines."""
        return 1.9 if self.marker else 1.1


GREY = Look(MUTED, (1, 0), "")
Looks = Mapping[str, Look]
"""By strategy."""


def looks(every: Sequence[Standings], strategies: Sequence[str]) -> dict[str, Look]:
    """Return the look of each strategy.

    Up to eight have a colour each. Of more, only the five most accurate over all points, and
    FedAvg, have one; the rest are grey.

    Args:
        every: The standings at every point.
        strategies: All, in the order of the plan.
    """
    coloured = [*strategies]
    if len(strategies) > len(SERIES):
        means = _means(every)
        best = sorted(means, key=lambda name: -means[name])[:_COLOURED]
        coloured = [name for name in strategies if name in best or name == _ALWAYS]
    own = {
        name: Look(*each)
        for name, each in zip(coloured, zip(SERIES, _DASHES, _MARKERS, strict=True), strict=False)
    }
    return {name: own.get(name, GREY) for name in strategies}


def _means(every: Sequence[Standings]) -> dict[str, float]:
    """Return each strategy's mean accuracy over the points at which it has one."""
    found: dict[str, list[float]] = {}
    for at in every:
        for row in at.rows:
            if not math.isnan(row.accuracy.mean):
                found.setdefault(row.strategy, []).append(row.accuracy.mean)
    return {name: sum(values) / len(values) for name, values in found.items()}

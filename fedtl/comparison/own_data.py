"""Scores on clients' held-out rows, of every strategy and of local-only heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtl.comparison.result import CellResult
from fedtl.comparison.spread import Spread

READINGS = ("federated", "corrected", "personal")
"""The heads that a federation may give a client: the global one as it is, the same read with the
client's own frequencies of classes, and one of its own."""


@dataclass(frozen=True)
class Reading:
    """One kind of head on clients' own data, over seeds.

    Attributes:
        accuracy: Of all clients' own held-out rows together.
        worst_client: The minimum over clients, each on its own.
        better: Clients that are better off than with their local-only heads, by the test.
        worse: Clients that are worse off.
    """

    accuracy: Spread
    worst_client: Spread
    better: Spread
    worse: Spread


@dataclass(frozen=True)
class OwnStanding:
    """Scores of one strategy on clients' own data.

    Attributes:
        strategy: Its name.
        results: By seed.
        readings: Of :data:`READINGS`, those that it has.
    """

    strategy: str
    results: Mapping[int, CellResult]
    readings: Mapping[str, Reading]

    @property
    def best(self) -> float:
        """Accuracy of its best reading; NaN if nothing was scored."""
        known = [
            one.accuracy.mean for one in self.readings.values() if not math.isnan(one.accuracy.mean)
        ]
        return max(known, default=math.nan)


@dataclass(frozen=True)
class OwnData:
    """All strategies on clients' own data, that of the best reading first.

    Attributes:
        rows: The strategies.
        references: Accuracy and worst client of ``local_only``, without any federation, and
            ``centralised``, the head of all data, and, if a run has one, ``zero_shot``, the head of
            the classes' names; the same for all strategies.
    """

    rows: Sequence[OwnStanding]
    references: Mapping[str, tuple[Spread, Spread]]


def own_data(runs: Mapping[str, Mapping[int, CellResult]]) -> OwnData:
    """Return the scores on clients' own data.

    Args:
        runs: Results of runs, by strategy and seed; at least one.
    """
    rows = [OwnStanding(name, by_seed, _readings(by_seed)) for name, by_seed in runs.items()]
    rows.sort(key=lambda row: 1.0 if math.isnan(row.best) else -row.best)
    told = {way: runs_with(runs, way) for way in ("local_only", "zero_shot", "centralised")}
    references = {
        way: (_figure(found, way, "accuracy"), _figure(found, way, "worst_client_accuracy"))
        for way, found in told.items()
        if found or way != "zero_shot"
    }
    return OwnData(rows, references)


def runs_with(runs: Mapping[str, Mapping[int, CellResult]], way: str) -> Mapping[int, CellResult]:
    """Return the runs of the strategy that has most of those with a way of learning, by seed."""
    each = [
        {seed: run for seed, run in by_seed.items() if way in run.own_data}
        for by_seed in runs.values()
    ]
    return max(each, key=len)


def _readings(runs: Mapping[int, CellResult]) -> dict[str, Reading]:
    first = next(iter(runs.values()))
    if not first.global_head:
        # What such a run calls federated are clients' own heads.
        return {"personal": _reading(runs, "federated")}
    ways = [way for way in READINGS if way in first.own_data]
    if first.config["prior-correction"] and "corrected" in ways:
        ways.remove("personal")  # it is the corrected one
    return {way: _reading(runs, way) for way in ways}


def _reading(runs: Mapping[int, CellResult], way: str) -> Reading:
    return Reading(
        accuracy=_figure(runs, way, "accuracy"),
        worst_client=_figure(runs, way, "worst_client_accuracy"),
        better=Spread.of(float(run.verdicts(way, "better")) for run in runs.values()),
        worse=Spread.of(float(run.verdicts(way, "worse")) for run in runs.values()),
    )


def _figure(runs: Mapping[int, CellResult], way: str, name: str) -> Spread:
    return Spread.of(run.own_data[way][name] for run in runs.values() if way in run.own_data)

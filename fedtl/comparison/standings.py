"""How strategies compare at one point: global heads ranked by one test, and clients' own data.

Only global heads are ranked, on a test split that belongs to no client: the best, the target that
it sets, and who is behind it. The heads that clients would use, each scored on its own data, are
reported separately and never ranked with them: see :mod:`fedtl.comparison.own_data`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedtl.comparison.marks import accuracy_of, difference_of, values_of
from fedtl.comparison.own_data import OwnData, own_data, runs_with
from fedtl.comparison.plan import Cell, Plan, Point
from fedtl.comparison.result import CellResult
from fedtl.comparison.spread import Spread
from fedtl.statistics.behind_best import p_behind_best
from fedtl.statistics.intervals import Interval
from fedtl.statistics.two_way import FEWEST_SEEDS, TwoWay
from fedtl.statistics.verdicts import SIGNIFICANT, holm

_OF_THE_BEST = 0.95

Runs = Mapping[str, Mapping[int, CellResult]]
"""Results of runs, by strategy and seed."""


class Finished(Protocol):
    """A comparison's runs: see :class:`fedtl.comparison.runner.Compared`."""

    @property
    def plan(self) -> Plan:
        """The plan."""
        ...

    @property
    def results(self) -> Mapping[Cell, CellResult]:
        """Results of the runs."""
        ...

    @property
    def chosen(self) -> Mapping[str, Mapping[str, float]]:
        """Tuned hyper-parameters, by the cell's name."""
        ...


@dataclass(frozen=True)
class Standing:
    """Scores of one strategy's global head at one point.

    Attributes:
        strategy: Its name.
        results: By seed.
        accuracy: On new data, over seeds.
        interval: Its 95 % interval, over seeds and test examples; ``None`` if that is unknown.
        balanced: Mean recall over classes, over seeds.
        pooled: Its training on all clients' data in one place, over seeds and shuffles.
        clean: Its accuracy without the attack, over the same seeds; ``None`` if there is none.
        reached: Runs that reached the target.
        rounds: Rounds to the target, over the runs that reached it.
        bytes: Bytes to the target, likewise.
        seconds: Of all rounds of a run.
        behind: Whether it is significantly behind the best, by a test that knows that the same
            data chose the best (:mod:`fedtl.statistics.behind_best`); never with fewer than five
            seeds.
    """

    strategy: str
    results: Mapping[int, CellResult]
    accuracy: Spread
    interval: Interval | None
    balanced: Spread
    pooled: Spread
    clean: Spread | None
    reached: int
    rounds: Spread
    bytes: Spread
    seconds: Spread
    behind: bool


@dataclass(frozen=True)
class Difference:
    """Difference of two strategies, on the same seeds and test examples.

    Attributes:
        mean: Mean difference in accuracy, a fraction.
        interval: Its 95 % interval, not corrected; ``None`` if it is unknown.
        p: After Holm's correction for all pairs of the point; NaN if it is unknown.
        seeds: How many seeds both have.
    """

    mean: float
    interval: Interval | None
    p: float
    seeds: int

    @property
    def significant(self) -> bool:
        """Whether chance is an unlikely cause, with enough seeds."""
        return self.seeds >= FEWEST_SEEDS and self.p < SIGNIFICANT


@dataclass(frozen=True)
class Standings:
    """All strategies at one point.

    Attributes:
        point: What varies, and its value here.
        target: The accuracy for which rounds and bytes are reported; NaN if nothing was ranked.
        rows: The strategies with a global head, the most accurate first.
        differences: By a pair of those, the first minus the second.
        centralised: Accuracy of the head of all data on what ``rows`` are ranked by.
        zero_shot: That of the head of the classes' names; ``None`` if no run has one.
        new_data: Whether that is a test split that belongs to no client; else it is all clients'
            held-out rows.
        examples: How many examples that are, in the first run.
        groups: How many groups they form; as many as examples if there are no groups.
        own: Scores on clients' own data, for every strategy.
        attacked: Whether clients are hostile here.
        tuned: Hyper-parameters that searches chose, by strategy and key, one value a seed.
    """

    point: Point
    target: float
    rows: Sequence[Standing]
    differences: Mapping[tuple[str, str], Difference]
    centralised: Spread
    zero_shot: Spread | None
    new_data: bool
    examples: int
    groups: int
    own: OwnData
    attacked: bool
    tuned: Mapping[str, Mapping[str, tuple[float, ...]]]

    @property
    def seeds(self) -> int:
        """The largest number of seeds with results of one strategy."""
        return max(len(row.results) for row in self.own.rows)

    @property
    def pooled_over(self) -> str:
        """What training on pooled data is a mean over: that of blocks has one shuffle."""
        runs = [run for row in self.rows for run in row.results.values()]
        once = max((len(run.trained) for run in runs), default=0) == 1
        return "seeds" if once else "seeds and shuffles"

    @property
    def judged(self) -> int:
        """The most clients of a run with a verdict: honest, with held-out rows."""
        runs = [run for row in self.own.rows for run in row.results.values()]
        return max(sum(bool(client.verdicts) for client in run.clients) for run in runs)


def standings(compared: Finished) -> list[Standings]:
    """Return how strategies compare at every point of the plan that has a finished run."""
    table: dict[Point, dict[str, dict[int, CellResult]]] = {}
    for cell, result in compared.results.items():
        by_seed = table.setdefault(cell.point, {}).setdefault(cell.strategy, {})
        by_seed[cell.config.seed] = result
    return [
        _at(point, table[point], table.get(compared.plan.without_attack(point) or ()), compared)
        for point in compared.plan.points
        if point in table
    ]


def _at(point: Point, runs: Runs, clean: Runs | None, compared: Finished) -> Standings:
    ranked = {name: by_seed for name, by_seed in runs.items() if _first(by_seed).global_head}
    means = {name: _accuracy(by_seed).mean for name, by_seed in ranked.items()}
    scored = [mean for mean in means.values() if not math.isnan(mean)]
    target = compared.plan.target or (_OF_THE_BEST * max(scored) if scored else math.nan)
    order = sorted(ranked, key=lambda name: -1.0 if math.isnan(means[name]) else -means[name])
    estimates = _estimates(ranked, order)
    behind = _behind(ranked, order)
    attacked = compared.plan.without_attack(point) is not None
    rows = [
        _standing(
            name,
            ranked[name],
            target,
            clean=_accuracy((clean or {}).get(name, {})) if attacked else None,
            behind=name in behind,
        )
        for name in order
    ]
    # The references are the same for all strategies.
    most = max(runs.values(), key=len)
    counted = _first(most).ranked["centralised"]
    named = runs_with(runs, "zero_shot")
    tuned = _tuned(point, compared)
    return Standings(
        point=point,
        target=target,
        rows=rows,
        differences=_differences(estimates),
        centralised=_accuracy(most, "centralised"),
        zero_shot=_accuracy(named, "zero_shot") if named else None,
        new_data=bool(_first(most).new_data),
        examples=int(counted["examples"] or 0),
        groups=int(counted["groups"] or 0),
        own=own_data(runs),
        attacked=attacked,
        tuned={name: tuned[name] for name in runs if tuned.get(name)},
    )


def _tuned(point: Point, compared: Finished) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return what the searches at one point chose, by strategy, one value per seed."""
    each: dict[str, list[Mapping[str, float]]] = {}
    for cell in compared.plan.cells():
        if cell.point == point and (chosen := compared.chosen.get(cell.name)) is not None:
            each.setdefault(cell.strategy, []).append(chosen)
    return {
        name: {key: tuple(chosen[key] for chosen in found) for key in found[0]}
        for name, found in each.items()
    }


def _standing(
    strategy: str,
    runs: Mapping[int, CellResult],
    target: float,
    *,
    clean: Spread | None,
    behind: bool,
) -> Standing:
    reaching = [point for run in runs.values() if (point := run.reaching(target)) is not None]
    estimate = accuracy_of({seed: run.marks for seed, run in runs.items() if run.marks})
    return Standing(
        strategy=strategy,
        results=runs,
        accuracy=_accuracy(runs),
        interval=None if estimate is None else estimate.share_interval,
        balanced=Spread.of(run.ranked["federated"]["balanced_accuracy"] for run in runs.values()),
        pooled=Spread.of(one for run in runs.values() for one in run.ranked_training),
        clean=clean,
        reached=len(reaching),
        rounds=Spread.of(float(at.server_round) for at in reaching),
        bytes=Spread.of(float(at.bytes) for at in reaching),
        seconds=Spread.of(run.seconds for run in runs.values()),
        behind=behind,
    )


def _first(runs: Mapping[int, CellResult]) -> CellResult:
    return next(iter(runs.values()))


def _accuracy(runs: Mapping[int, CellResult], way: str = "federated") -> Spread:
    return Spread.of(run.ranked[way]["accuracy"] for run in runs.values())


Estimates = Mapping[tuple[str, str], TwoWay | None]


def _estimates(ranked: Runs, order: Sequence[str]) -> Estimates:
    """Return the difference of every pair, the more accurate first."""
    marks = {
        name: {seed: run.marks for seed, run in ranked[name].items() if run.marks} for name in order
    }
    return {
        (a, b): difference_of(marks[a], marks[b])
        for i, a in enumerate(order)
        for b in order[i + 1 :]
    }


def _behind(ranked: Runs, order: Sequence[str]) -> set[str]:
    """Return the strategies that are significantly behind the first.

    Over the seeds that all have; a strategy with fewer than five is not compared.
    """
    marks = {
        name: {seed: run.marks for seed, run in ranked[name].items() if run.marks} for name in order
    }
    tested = [name for name in order if len(marks[name]) >= FEWEST_SEEDS]
    if len(tested) < 2 or tested[0] != order[0]:
        return set()
    seeds = sorted(set.intersection(*(set(marks[name]) for name in tested)))
    found = values_of([[marks[name][seed] for seed in seeds] for name in tested])
    if len(seeds) < FEWEST_SEEDS or found is None or found[0].shape[2] < 2:
        return set()
    p_values = p_behind_best(*found)
    return {name for name, p in zip(tested, p_values, strict=True) if p < SIGNIFICANT}


def _differences(estimates: Estimates) -> dict[tuple[str, str], Difference]:
    corrected = holm([math.nan if one is None else one.p for one in estimates.values()])
    found: dict[tuple[str, str], Difference] = {}
    for ((a, b), one), p in zip(estimates.items(), corrected, strict=True):
        mean = math.nan if one is None else one.mean
        span = None if one is None else one.interval
        seeds = 0 if one is None else one.seeds
        found[a, b] = Difference(mean, span, p, seeds)
        turned = None if span is None else Interval(-span.high, -span.low)
        found[b, a] = Difference(-mean, turned, p, seeds)
    return found

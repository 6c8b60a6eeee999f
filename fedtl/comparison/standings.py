"""How strategies compare at one point: means over seeds, and which differences are significant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedtl.comparison.plan import Point
from fedtl.comparison.result import CellResult

if TYPE_CHECKING:
    from fedtl.comparison.runner import Compared

SIGNIFICANT = 0.05
_OF_THE_BEST = 0.95
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds.

    Attributes:
        mean: NaN where there is no value.
        sd: With n - 1 in its denominator; NaN below two values.
        count: How many values.
    """

    mean: float
    sd: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Return it for the values that exist."""
        known = [value for value in values if value is not None]
        return cls(
            mean=float(np.mean(known)) if known else math.nan,
            sd=float(np.std(known, ddof=1)) if len(known) > 1 else math.nan,
            count=len(known),
        )


@dataclass(frozen=True)
class Standing:
    """How one strategy did at one point.

    Attributes:
        strategy: Its name.
        results: By seed.
        accuracy: Of the global head; where there is none, of clients' own heads, their mean.
        mean_client: Mean over clients, each with the head it would use, on its own held-out
            examples.
        worst_client: Their minimum.
        harmed: Clients that would do better alone.
        reached: Runs that reached the target.
        rounds: Rounds to the target, over the runs that reached it.
        bytes: Bytes to the target, likewise.
        seconds: Of all rounds of a run.
        tuned: Hyper-parameters that searches chose, one value a seed; empty where there was none.
        behind: Whether it is significantly behind the best, Holm's correction being for as many
            tests as there are others.
    """

    strategy: str
    results: Mapping[int, CellResult]
    accuracy: Spread
    mean_client: Spread
    worst_client: Spread
    harmed: Spread
    reached: int
    rounds: Spread
    bytes: Spread
    seconds: Spread
    tuned: Mapping[str, tuple[float, ...]]
    behind: bool


@dataclass(frozen=True)
class Difference:
    """How far one strategy is from another, paired over seeds.

    Attributes:
        mean: Mean difference in accuracy, a fraction.
        p: Of a paired t-test, after Holm's correction for all pairs of the point (Holm, Scand. J.
            Statist. 1979); NaN below two seeds.
    """

    mean: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether chance would hardly give it."""
        return self.p < SIGNIFICANT


@dataclass(frozen=True)
class Standings:
    """All strategies at one point, the most accurate first.

    Attributes:
        point: What varies, and its value here.
        target: The accuracy that rounds and bytes are told for; NaN where nothing was scored.
        rows: The strategies.
        differences: By a pair of strategies, the first minus the second.
        local_only: Accuracy of clients' own heads, and ``centralised`` of the head of all data, as
            ``reference`` trains them; the four scores by name.
        centralised: See ``local_only``.
        reference: The strategy whose way of training they are.
    """

    point: Point
    target: float
    rows: Sequence[Standing]
    differences: Mapping[tuple[str, str], Difference]
    local_only: Mapping[str, Spread]
    centralised: Mapping[str, Spread]
    reference: str


def standings(compared: Compared) -> list[Standings]:
    """Return how strategies compare at every point that has a finished run."""
    table: dict[Point, dict[str, dict[int, CellResult]]] = {}
    for cell, result in compared.results.items():
        by_seed = table.setdefault(cell.point, {}).setdefault(cell.strategy, {})
        by_seed[cell.config.seed] = result
    return [_at(point, by_strategy, compared) for point, by_strategy in table.items()]


def _at(
    point: Point, by_strategy: Mapping[str, Mapping[int, CellResult]], compared: Compared
) -> Standings:
    means = {name: _score(runs, "accuracy").mean for name, runs in by_strategy.items()}
    scored = [mean for mean in means.values() if not math.isnan(mean)]
    target = compared.plan.target or (_OF_THE_BEST * max(scored) if scored else math.nan)
    order = sorted(by_strategy, key=lambda name: -np.nan_to_num(means[name], nan=-1.0))
    behind = _behind(by_strategy, order)
    rows = [
        _standing(
            name,
            by_strategy[name],
            target,
            tuned=_tuned(point, name, compared),
            behind=name in behind,
        )
        for name in order
    ]
    reference = _reference(by_strategy)
    return Standings(
        point=point,
        target=target,
        rows=rows,
        differences=_differences(by_strategy, order),
        local_only=_scores(by_strategy[reference], "local_only"),
        centralised=_scores(by_strategy[reference], "centralised"),
        reference=reference,
    )


def _tuned(point: Point, strategy: str, compared: Compared) -> dict[str, tuple[float, ...]]:
    """Return what the searches of one strategy at one point chose, one value a seed."""
    each = [
        chosen
        for cell in compared.plan.cells()
        if (cell.point, cell.strategy) == (point, strategy)
        and (chosen := compared.chosen.get(cell.name)) is not None
    ]
    return {key: tuple(chosen[key] for chosen in each) for key in (each[0] if each else ())}


def _standing(
    strategy: str,
    runs: Mapping[int, CellResult],
    target: float,
    *,
    tuned: Mapping[str, tuple[float, ...]],
    behind: bool,
) -> Standing:
    reaching = [point for run in runs.values() if (point := run.reaching(target)) is not None]
    return Standing(
        strategy=strategy,
        results=runs,
        accuracy=_score(runs, "accuracy"),
        mean_client=Spread.of(run.used["mean_client_accuracy"] for run in runs.values()),
        worst_client=Spread.of(run.used["worst_client_accuracy"] for run in runs.values()),
        harmed=Spread.of(float(run.harmed) for run in runs.values()),
        reached=len(reaching),
        rounds=Spread.of(float(at.server_round) for at in reaching),
        bytes=Spread.of(float(at.bytes) for at in reaching),
        seconds=Spread.of(run.seconds for run in runs.values()),
        tuned=tuned,
        behind=behind,
    )


def _score(runs: Mapping[int, CellResult], name: str, way: str = "federated") -> Spread:
    return Spread.of(run.scores[way][name] for run in runs.values())


def _scores(runs: Mapping[int, CellResult], way: str) -> dict[str, Spread]:
    names = next(iter(runs.values())).scores[way]
    return {name: _score(runs, name, way) for name in names}


def _reference(by_strategy: Mapping[str, Mapping[int, CellResult]]) -> str:
    """Return FedAvg, whose lone clients take plain SGD, or else the first strategy."""
    return "fedavg" if "fedavg" in by_strategy else next(iter(by_strategy))


def _behind(by_strategy: Mapping[str, Mapping[int, CellResult]], order: Sequence[str]) -> set[str]:
    """Return the strategies that are significantly behind the first."""
    best, *others = order
    tests = [p_value(_paired(by_strategy[best], by_strategy[other])) for other in others]
    return {other for other, p in zip(others, holm(tests), strict=True) if p < SIGNIFICANT}


def _differences(
    by_strategy: Mapping[str, Mapping[int, CellResult]], order: Sequence[str]
) -> dict[tuple[str, str], Difference]:
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    paired = {pair: _paired(by_strategy[pair[0]], by_strategy[pair[1]]) for pair in pairs}
    corrected = holm([p_value(differences) for differences in paired.values()])
    found: dict[tuple[str, str], Difference] = {}
    for (a, b), p in zip(pairs, corrected, strict=True):
        mean = float(np.mean(paired[a, b])) if paired[a, b] else math.nan
        found[a, b], found[b, a] = Difference(mean, p), Difference(-mean, p)
    return found


def _paired(a: Mapping[int, CellResult], b: Mapping[int, CellResult]) -> list[float]:
    """Return the differences in accuracy over the seeds that both have."""
    differences = []
    for seed in sorted(a.keys() & b.keys()):
        first, second = (run[seed].scores["federated"]["accuracy"] for run in (a, b))
        if first is not None and second is not None:
            differences.append(first - second)
    return differences


def p_value(differences: Sequence[float]) -> float:
    """Return the p-value of a two-sided paired t-test; NaN below two pairs.

    Where all differences are the same, but for rounding, it is 1 if they are 0, and else 0.
    """
    if len(differences) < 2:
        return math.nan
    if np.ptp(differences) < _ROUNDING:
        return 0.0 if abs(differences[0]) > _ROUNDING else 1.0
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method; NaN stays NaN."""
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected

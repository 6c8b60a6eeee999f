"""Results with other seeds: ``simulate --seeds``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedtl.statistics.intervals import mean_interval

Figures = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class SeedScores:
    """Scores of a run with one seed.

    Attributes:
        seed: Of the split, participation, shuffles and seeded starts; the data are the same.
        own_data: By way of learning, the figures of
            :class:`fedtl.federation.evaluation.Summary` on clients' own held-out rows.
        new_data: The same on the test split; empty without one.
    """

    seed: int
    own_data: Figures
    new_data: Figures


def over_seeds(scores: Sequence[SeedScores]) -> dict[str, Any]:
    """Return the mean of each way's accuracy and gain over seeds, with its 95 % interval.

    Args:
        scores: One per seed, the run's own first; at least two.
    """
    return {
        "seeds": [one.seed for one in scores],
        "own_data": _by_way([one.own_data for one in scores]),
        "new_data": _by_way([one.new_data for one in scores]),
        "gains": {
            way: _mean([_gain(one.own_data, way) for one in scores], least=-1.0)
            for way in ("federated", "corrected", "personal")
            if all(one.own_data.get(way) for one in scores)
        },
    }


def seed_rows(scores: Sequence[SeedScores]) -> list[dict[str, Any]]:
    """Return the rows of ``seeds.csv``: the accuracies of every seed."""
    ways = list(dict.fromkeys(way for one in scores for way in one.own_data))
    return [
        {
            "seed": one.seed,
            **{f"{way}_accuracy": _accuracy(one.own_data, way) for way in ways},
            **{f"new_data_{way}_accuracy": _accuracy(one.new_data, way) for way in ways},
        }
        for one in scores
    ]


def _by_way(figures: Sequence[Figures]) -> dict[str, dict[str, float | None]]:
    ways = [way for way in figures[0] if all(one.get(way) for one in figures)]
    return {way: _mean([_accuracy(one, way) for one in figures], least=0.0) for way in ways}


def _accuracy(figures: Figures, way: str) -> float | None:
    return (figures.get(way) or {}).get("accuracy")


def _gain(figures: Figures, way: str) -> float | None:
    ours, alone = _accuracy(figures, way), _accuracy(figures, "local_only")
    return None if ours is None or alone is None else ours - alone


def _mean(values: Sequence[float | None], *, least: float) -> dict[str, float | None]:
    """Return the mean and its interval, cut to what can be: from ``least`` to 1."""
    known = np.array([value for value in values if value is not None], np.float64)
    interval = mean_interval(known)
    return {
        "mean": float(known.mean()) if len(known) else None,
        "low": None if interval is None else max(least, interval.low),
        "high": None if interval is None else min(1.0, interval.high),
    }

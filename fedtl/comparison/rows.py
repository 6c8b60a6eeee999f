"""A comparison as tables for other programs: a row per run, a row per round, and a summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from fedtl.comparison.own_data import READINGS
from fedtl.comparison.plan import Cell
from fedtl.comparison.result import CellResult
from fedtl.comparison.runner import Compared
from fedtl.comparison.spread import Spread
from fedtl.comparison.standings import Standing, Standings
from fedtl.json_file import without_nan
from fedtl.statistics.verdicts import Verdict

_COUNTED: tuple[Verdict, ...] = ("better", "worse")


def cell_rows(compared: Compared) -> list[dict[str, Any]]:
    """Return the row of ``comparison.csv`` for every run that finished.

    Figures of own data begin with the way of learning, those of new data have ``new_data_`` before
    it. ``better`` and ``worse`` count clients by the test of their head against their local-only
    head.
    """
    plan = compared.plan
    targets = {at.point: at.target for at in compared.points}
    attacked = any(plan.without_attack(point) is not None for point in plan.points)
    rows = []
    for cell, result in compared.results.items():
        target = targets.get(cell.point)
        reached = None if target is None else result.reaching(target)
        tuned = compared.chosen.get(cell.name, {})
        rows.append(
            {
                **_key(cell),
                **({"attack": cell.config.attack} if attacked else {}),
                "global_head": result.global_head,
                **_figures("", result.own_data),
                **_figures("new_data_", result.new_data),
                **{
                    f"{way}_{verdict}": result.verdicts(way, verdict)
                    for way in READINGS
                    if way in result.own_data
                    for verdict in _COUNTED
                },
                **_training(result),
                "clients": len(result.clients),
                "harmed_clients": result.harmed,
                "rounds": len(result.rounds),
                "target": target,
                "rounds_to_target": reached.server_round if reached else None,
                "bytes_to_target": reached.bytes if reached else None,
                "bytes_up": result.bytes_up,
                "bytes_down": result.bytes_down,
                "failures": result.failures,
                **{f"tuned:{key}": value for key, value in tuned.items()},
                "seconds": round(result.seconds, 4),
                "head_sha256": result.head_sha256,
            }
        )
    return rows


def _figures(
    prefix: str, ways: Mapping[str, Mapping[str, float | None]]
) -> dict[str, float | None]:
    return {
        f"{prefix}{way}_{name}": value
        for way, figures in ways.items()
        for name, value in figures.items()
    }


def _training(result: CellResult) -> dict[str, float | int | None]:
    """Return the accuracy of the same training on pooled data: mean over shuffles, and spread."""
    figures: dict[str, float | int | None] = {}
    for place, prefix in enumerate(("", "new_data_")):
        spread = Spread.of(pair[place] for pair in result.trained)
        figures[f"{prefix}pooled_training_accuracy"] = spread.mean if spread.count else None
        figures[f"{prefix}pooled_training_sd"] = spread.sd if spread.count > 1 else None
    return {**figures, "pooled_training_shuffles": len(result.trained)}


def round_rows(compared: Compared) -> list[dict[str, Any]]:
    """Return the row of ``rounds.csv`` for every round of every run."""
    return [
        {
            **_key(cell),
            "round": point.server_round,
            "accuracy": point.accuracy,
            "bytes": point.bytes,
        }
        for cell, result in compared.results.items()
        for point in result.rounds
    ]


def summary_of(compared: Compared) -> str:
    """Return ``summary.json``: both questions at every point, and what failed."""
    content = {
        "points": [_standings(at) for at in compared.points],
        "failed": [{**_key(cell), "reason": why} for cell, why in compared.failed.items()],
    }
    return json.dumps(without_nan(content), indent=2) + "\n"


def _key(cell: Cell) -> dict[str, Any]:
    return {"strategy": cell.strategy, **dict(cell.point), "seed": cell.config.seed}


def _standings(at: Standings) -> dict[str, Any]:
    """Return one point: ranked global heads, and scores on clients' own data."""
    return {
        "point": dict(at.point),
        "seeds": at.seeds,
        "ranking": {
            "measured_on": "new data" if at.new_data else "all clients' held-out rows",
            "examples": at.examples,
            "groups": at.groups,
            "target": at.target,
            "strategies": [_standing(row) for row in at.rows],
            "differences": list(_pairs(at)),
            "centralised": asdict(at.centralised),
            "zero_shot": None if at.zero_shot is None else asdict(at.zero_shot),
        },
        "own_data": {
            "strategies": [
                {
                    "strategy": row.strategy,
                    **{way: asdict(one) for way, one in row.readings.items()},
                }
                for row in at.own.rows
            ],
            **{
                way: {"accuracy": asdict(accuracy), "worst_client": asdict(worst)}
                for way, (accuracy, worst) in at.own.references.items()
            },
        },
        "tuned": {name: dict(found) for name, found in at.tuned.items()},
    }


def _standing(row: Standing) -> dict[str, Any]:
    return {
        "strategy": row.strategy,
        "accuracy": asdict(row.accuracy),
        "interval": None if row.interval is None else row.interval._asdict(),
        "balanced_accuracy": asdict(row.balanced),
        "pooled_training": asdict(row.pooled),
        "without_attack": None if row.clean is None else asdict(row.clean),
        "reached_target": row.reached,
        "rounds_to_target": asdict(row.rounds),
        "bytes_to_target": asdict(row.bytes),
        "seconds": asdict(row.seconds),
        "significantly_behind_best": row.behind,
    }


def _pairs(at: Standings) -> Iterator[dict[str, Any]]:
    """Yield each pair once, the more accurate first."""
    order = [row.strategy for row in at.rows]
    for i, a in enumerate(order):
        for b in order[i + 1 :]:
            found = at.differences[a, b]
            yield {
                "first": a,
                "second": b,
                "difference": found.mean,
                "interval": None if found.interval is None else found.interval._asdict(),
                "p": found.p,
                "significant": found.significant,
            }

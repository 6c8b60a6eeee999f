"""A comparison as tables for other programs: a row per run, a row per round, and a summary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fedtl.comparison.plan import Cell
from fedtl.comparison.runner import Compared
from fedtl.comparison.standings import Spread, Standing, Standings, standings
from fedtl.report.run_folder import without_nan

_SCORES = ("accuracy", "balanced_accuracy", "mean_client_accuracy", "worst_client_accuracy")


def cell_rows(compared: Compared) -> list[dict[str, Any]]:
    """Return the row of ``comparison.csv`` for every run that finished."""
    targets = {at.point: at.target for at in standings(compared)}
    rows = []
    for cell, result in compared.results.items():
        target = targets[cell.point]
        reached = result.reaching(target)
        tuned = compared.chosen.get(cell.name, {})
        rows.append(
            {
                **_key(cell),
                **{name: result.scores["federated"][name] for name in _SCORES},
                **{
                    f"personal_{name}": value
                    for name, value in result.scores.get("personal", {}).items()
                },
                **{f"local_only_{name}": result.scores["local_only"][name] for name in _SCORES},
                **{f"centralised_{name}": result.scores["centralised"][name] for name in _SCORES},
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
    """Return ``summary.json``: the standings at every point, and what failed."""
    content = {
        "points": [_standings(at, list(_pairs(at))) for at in standings(compared)],
        "failed": [{**_key(cell), "reason": why} for cell, why in compared.failed.items()],
    }
    return json.dumps(without_nan(content), indent=2) + "\n"


def _key(cell: Cell) -> dict[str, Any]:
    return {"strategy": cell.strategy, **dict(cell.point), "seed": cell.config.seed}


def _standings(at: Standings, differences: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "point": dict(at.point),
        "target": at.target,
        "strategies": [_standing(row) for row in at.rows],
        "differences": differences,
        "local_only": {name: _spread(spread) for name, spread in at.local_only.items()},
        "centralised": {name: _spread(spread) for name, spread in at.centralised.items()},
        "reference": at.reference,
    }


def _standing(row: Standing) -> dict[str, Any]:
    return {
        "strategy": row.strategy,
        "accuracy": _spread(row.accuracy),
        "mean_client_accuracy": _spread(row.mean_client),
        "worst_client_accuracy": _spread(row.worst_client),
        "harmed_clients": _spread(row.harmed),
        "reached_target": row.reached,
        "rounds_to_target": _spread(row.rounds),
        "bytes_to_target": _spread(row.bytes),
        "seconds": _spread(row.seconds),
        "significantly_behind_best": row.behind,
    }


def _spread(spread: Spread) -> dict[str, Any]:
    return asdict(spread)


def _pairs(at: Standings) -> Iterator[dict[str, Any]]:
    """Yield each pair once, the more accurate first."""
    order = [row.strategy for row in at.rows]
    for i, a in enumerate(order):
        for b in order[i + 1 :]:
            found = at.differences[a, b]
            yield {"first": a, "second": b, "difference": found.mean, "p": found.p}

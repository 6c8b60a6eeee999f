"""The report's sections on the run: what left the sites, failures, time and settings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedtl.report.page import Section, TextTable
from fedtl.report.tables import time_parts
from fedtl.results.detail import RunDetail
from fedtl.wording import byte_size

_MOST_FAILURES = 50
_ROUNDING = 0.05
_MOST_WARNINGS = 100
_ARROWS = {"up": "↑ site to server", "down": "↓ server to site"}


def egress_section(result: RunDetail) -> Section:
    """Return what crossed the sites' borders, by kind of record."""
    rows = [
        [
            _ARROWS[total.direction],
            total.record,
            total.contents,
            f"{total.messages:,}",
            byte_size(total.bytes),
        ]
        for total in result.egress
    ]
    for direction, arrow in _ARROWS.items():
        size = sum(total.bytes for total in result.egress if total.direction == direction)
        rows.append([arrow, "all records", "", "", byte_size(size)])
    styles = [""] * len(result.egress) + ["total"] * len(_ARROWS)
    headings = ["Direction", "Record", "Contents", "Messages", "Size"]
    view = {
        "heading": "What left each site",
        "told": "Every record that crossed a site's boundary, summed over clients and rounds; a "
        "reply that holds anything else is refused. egress.csv lists them by round and client.",
        "table": TextTable(headings, rows, (3, 4), styles),
        "after": "",
    }
    return Section("What left each site", "egress", "table.html", view)


def failures_section(result: RunDetail) -> Section:
    """Return which clients failed when, and the run's warnings."""
    rounds_by_failure: dict[tuple[int, str], list[int]] = {}
    for row in result.rounds:
        for failure in row.failed:
            key = (failure.client, failure.reason)
            rounds_by_failure.setdefault(key, []).append(row.round)
    rows = [
        [result.client_names[client], _rounds(rounds), reason]
        for (client, reason), rounds in list(rounds_by_failure.items())[:_MOST_FAILURES]
    ]
    view = {
        "failures": TextTable(["Client", "Rounds", "Reason"], rows),
        "more_failures": len(rounds_by_failure) - len(rows),
        "warnings": result.warnings[:_MOST_WARNINGS],
        "more_warnings": max(0, len(result.warnings) - _MOST_WARNINGS),
    }
    return Section("Failures and warnings", "failures", "failures.html", view)


def _rounds(rounds: Sequence[int]) -> str:
    """Return round numbers, ``"3, 7, 12"``, or for many their count, first and last."""
    if len(rounds) <= 6:
        return ", ".join(map(str, rounds))
    return f"{len(rounds)} between {rounds[0]} and {rounds[-1]}"


def time_section(result: RunDetail) -> Section:
    """Return how the run's time was spent."""
    seconds = result.summary["seconds"]
    whole = max(seconds["total"], 1e-9)
    parts = time_parts(result.summary)
    phases = [
        *((name[0].upper() + name[1:], value) for name, value in parts),
        ("In all", seconds["total"]),
    ]
    view = {
        "resumed": math.fsum(value for _, value in parts) > seconds["total"] + _ROUNDING,
        "round": seconds["per_round_median"],
        "memory": 1e6 * result.summary["peak_rss_mb"],
        "phases": [(name, value, value / whole) for name, value in phases],
    }
    return Section("Time", "time", "time.html", view)


def configuration_section(result: RunDetail) -> Section:
    """Return the settings, and what identifies the head and the backbone."""
    summary = result.summary
    view = {
        "identity": {
            "head SHA-256": summary["head_sha256"],
            "backbone fingerprint": summary["backbone_fingerprint"],
        },
        "config": result.config,
        "versions": ", ".join(f"{name} {one}" for name, one in summary["versions"].items()),
    }
    return Section("Configuration", "configuration", "configuration.html", view)

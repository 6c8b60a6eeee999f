"""``clients.csv``: a line for each client."""

from __future__ import annotations

import math
from typing import Any

from fedtl.csv_cells import csv_text
from fedtl.results.detail import Gain, OwnScore, RunDetail

_WITH_METRICS = ("federated", "local_only")


def clients_csv(result: RunDetail) -> str:
    """Return ``clients.csv``: a line per client, its scores, gains and examples of each class."""
    rows, classes, unseen, summary = result.clients, result.classes, result.unseen, result.summary
    ways = ["local_only", "federated", "centralised"]
    ways += [way for way in ("corrected", "personal", "zero_shot") if summary[way] is not None]
    gaining = [way for way in ("federated", "corrected", "personal", "zero_shot") if way in ways]
    header = ["client", "name", "examples", "held_out"]
    for way in ways:
        header += [f"{way}_{kind}" for kind in ("accuracy", "low", "high", "balanced_accuracy")]
    for way in gaining:
        header += [f"{way}_{kind}" for kind in ("gain", "gain_low", "gain_high", "verdict")]
        header += [f"{way}_{kind}" for kind in ("both", "only_local", "only_ours", "neither")]
    header += [f"{way}_{kind}" for way in _WITH_METRICS for kind in ("auroc", "f1")]
    header += ["gain", "harmed", "local_only_method"]
    measures = ("accuracy", "balanced_accuracy") if unseen is not None else ()
    header += [f"local_only_unseen_{measure}" for measure in measures]
    lines: list[list[Any]] = [[*header, *(f"label:{name}" for name in classes)]]
    for row in rows:
        own = None if unseen is None else unseen.alone.get(row.client)
        cells = [row.client, row.name, row.examples, row.held_out]
        for way in ways:
            cells += _score_cells(row.scores.get(way))
        for way in gaining:
            cells += _gain_cells(row.gains.get(way))
        for way in _WITH_METRICS:
            told = row.scores[way].metrics if way in row.scores else None
            figures = (None, None) if told is None else (told.macro_auroc, told.macro_f1)
            cells += map(_cell, figures)
        used = "personal" if "personal" in row.gains else "federated"
        cells += [_cell(row.gain(used)), "yes" if row.verdict(used) == "worse" else "no"]
        cells += [row.method, *(_cell(getattr(own, measure, None)) for measure in measures)]
        lines.append([*cells, *row.label_counts.tolist()])
    return csv_text(lines)


def _score_cells(score: OwnScore | None) -> list[str]:
    if score is None:
        return [""] * 4
    low, high = score.interval
    return [_cell(value) for value in (score.accuracy, low, high, score.balanced_accuracy)]


def _gain_cells(gain: Gain | None) -> list[str]:
    if gain is None:
        return [""] * 8
    pairs = gain.pairs
    counts = (pairs.both, pairs.only_other, pairs.only_ours, pairs.neither)
    figures = [_cell(value) for value in (gain.difference, *gain.interval)]
    return [*figures, gain.verdict or "hostile", *map(str, counts)]


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"

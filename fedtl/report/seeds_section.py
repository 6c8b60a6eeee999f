"""The report's section on other seeds: how far the figures depend on the random split."""

from __future__ import annotations

from collections.abc import Mapping

from fedtl.report.page import Section, TextTable
from fedtl.report.ways import ways_of
from fedtl.results.detail import RunDetail
from fedtl.wording import MISSING, percent, points, points_span, span

Mean = Mapping[str, float | None]


def seeds_section(result: RunDetail) -> Section | None:
    """Return means over seeds with their intervals; ``None`` for a run of a single seed."""
    told = result.summary.get("over_seeds")
    if told is None:
        return None
    rows = [
        [
            way.title,
            *_accuracy(told["own_data"].get(key)),
            *_gain(told["gains"].get(key)),
            *_accuracy(told["new_data"].get(key)),
        ]
        for key, way in ways_of(result).items()
    ]
    headers = ["Head", "Own data", "95 % interval", "Gain, points", "95 % interval"]
    headers += ["New data", "95 % interval"]
    headings = ["Head", "Own data", "95 % interval", "Gain, points", "95 % interval"]
    headings += ["New data", "95 % interval"]
    view = {
        "heading": f"Over {len(told['seeds'])} seeds",
        "told": "The mean over seeds, which change the split, participation and shuffles; every "
        "other figure on this page is of the first seed. seeds.csv lists each seed.",
        "table": TextTable(headings, rows, range(1, len(headings))),
        "after": "",
    }
    return Section("Seeds", "seeds", "table.html", view)


def _accuracy(mean: Mean | None) -> list[str]:
    if mean is None:
        return [MISSING, MISSING]
    low, high = mean["low"], mean["high"]
    if low is not None and high is not None:  # of few seeds it may reach beyond what can be
        low, high = max(low, 0.0), min(high, 1.0)
    return [percent(mean["mean"]), span(low, high)]


def _gain(mean: Mean | None) -> list[str]:
    if mean is None:
        return [MISSING, MISSING]
    return [points(mean["mean"]), points_span(mean["low"], mean["high"])]

"""The report's section on new data: scores for a site that joins later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedtl.report.page import Section, TextTable
from fedtl.report.ways import ways_of
from fedtl.results.detail import RunDetail
from fedtl.wording import known, percent, span


def new_data_section(result: RunDetail) -> Section | None:
    """Return the heads' scores on the test split; ``None`` if the run has none."""
    new = result.summary["on_new_data"]
    if new is None:
        return None
    rows = []
    for way, one in ways_of(result).items():
        scores = new.get(way)
        if not scores:
            continue
        interval = span(scores["accuracy_low"], scores["accuracy_high"])
        name = one.title + ("" if way != "local_only" else ", mean client")
        cells = [percent(scores["accuracy"]), interval, percent(scores["balanced_accuracy"])]
        rows.append([name, *cells])
    rows += _training(result.summary.get("centralised_training"))
    headings = ["Head", "Accuracy", "95 % interval", "Balanced"]
    view = {
        "heading": "On new data",
        "told": "A different question from that of the clients' own data: how well do the heads "
        f"serve a site that joins later? Scored on {new['scored_on']}.",
        "table": TextTable(headings, rows, (1, 2, 3)),
        "after": "",
    }
    return Section("New data", "new-data", "table.html", view)


def _training(told: Mapping[str, Any] | None) -> list[list[str]]:
    if not told or not known(told["new_data"]["accuracy"]):
        return []
    new = told["new_data"]
    shuffles = told["shuffles"]
    name = "Same training, pooled" + (f", mean of {shuffles}" if shuffles > 1 else "")
    return [[name, percent(new["accuracy"]), span(new["low"], new["high"]), ""]]

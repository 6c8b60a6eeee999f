"""The page's table of metrics: AUROC, F1, sensitivity, Brier score, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedtl.report.page import Section, TextTable
from fedtl.report.ways import ways_of
from fedtl.results.detail import RunDetail
from fedtl.wording import MISSING, own_data

_ALL = {"macro_auroc": "AUROC", "macro_f1": "F1", "brier": "Brier", "calibration_error": "ECE"}
_TWO = {"sensitivity": "Sensitivity", "specificity": "Specificity"}


def metrics_section(result: RunDetail) -> Section | None:
    """Return the metrics; ``None`` if no way of learning has metrics."""
    summary = result.summary
    ways = {way: one for way, one in ways_of(result).items() if summary[way] is not None}
    told = {one.title: summary[way].get("metrics") for way, one in ways.items()}
    new = summary["on_new_data"] and summary["on_new_data"].get("federated")
    if new is not None:
        told["Federated, on new data"] = new.get("metrics")
    rows = {title: found for title, found in told.items() if found is not None}
    if not rows:
        return None
    columns = _ALL | (_TWO if len(result.classes) == 2 else {})
    cells = [[title, *(_cell(found, key) for key in columns)] for title, found in rows.items()]
    binned = max(found["auroc_error"] or 0.0 for found in rows.values())
    meaning = (
        f"Of {result.classes[1]}."
        if len(result.classes) == 2
        else "Means over classes, each against the rest."
    )
    temperature = summary["temperature"]
    fitted = (
        ""
        if temperature is None
        else f" predict divides the head's outputs by a temperature of {temperature:.2f}, fitted on"
        f" held-out rows; Brier and ECE here are before that.{_with_temperature(summary)}"
    )
    view = {
        "heading": "Metrics of the field",
        "told": "",
        "table": TextTable(["", *columns.values()], cells, range(1, len(columns) + 1)),
        "after": f"{meaning} For all clients together, on {own_data(summary)}, from binned scores, "
        f"which changes AUROC by {binned:.4f} at most. ECE is the expected calibration error. A "
        f"dash: the outputs of such heads are not probabilities.{fitted}",
    }
    return Section("Metrics", "metrics", "table.html", view)


def _with_temperature(summary: Mapping[str, Any]) -> str:
    error = summary["calibration_error_with_temperature"]
    if error is None:
        return ""
    return (
        f" With a temperature, the federated head's ECE is {error:.3f}: each client judged by the"
        " one that all others' examples give."
    )


def _cell(found: Mapping[str, Any], key: str) -> str:
    value = found[key]
    return MISSING if value is None else f"{value:.3f}"

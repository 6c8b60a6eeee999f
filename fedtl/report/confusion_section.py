"""The report's section on confusions between classes."""

from __future__ import annotations

import numpy as np

from fedtl.report.heat_maps import confusion_map
from fedtl.report.page import Section, TextTable
from fedtl.results.detail import RunDetail
from fedtl.wording import own_data, percent

_MOST_PAIRS = 8


def confusion_section(result: RunDetail) -> Section | None:
    """Return the matrix and its most frequent confusions; ``None`` without counts."""
    confusion = result.confusion
    if confusion is None or not confusion.any():
        return None
    errors = confusion.copy()
    np.fill_diagonal(errors, 0)
    largest = np.argsort(-errors, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = [
        [
            result.classes[true],
            result.classes[predicted],
            f"{errors[true, predicted]:,}",
            percent(errors[true, predicted] / confusion[true].sum()),
        ]
        for true, predicted in (np.unravel_index(index, errors.shape) for index in largest)
        if errors[true, predicted]
    ]
    headings = ["True class", "Taken for", "Examples", "Share of the true class"]
    view = {
        "whose": "The federated head"
        if result.summary["global_head"]
        else f"Each client's own head, on {own_data(result.summary)}",
        "plot": confusion_map(result),
        "pairs": TextTable(headings, rows, (2, 3), caption="The most frequent confusions"),
    }
    return Section("Confusion", "confusion", "confusion.html", view)

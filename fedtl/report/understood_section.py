"""The report's first table: what the run understood of its data."""

from __future__ import annotations

from fedtl.data.understood import Understood
from fedtl.report.page import Section, TextTable
from fedtl.results.detail import RunDetail

_MOST_CLASSES = 40


def understood_section(result: RunDetail) -> Section | None:
    """Return the counts of the data; ``None`` if the run's own process did not see them."""
    told = result.understood
    if told is None:
        return None
    view = {
        "heading": "What the run understood of the data",
        "told": "Counted before anything was computed, so duplicates and pictures that cannot be "
        "decoded are included. python -m fedtl.describe shows more, and trains nothing.",
        "table": TextTable(["Of the data", "Read as"], _rows(told)),
        "after": "",
    }
    return Section("Data read", "understood", "table.html", view)


def _rows(told: Understood) -> list[list[str]]:
    each = told.each_class()
    more = len(each) - _MOST_CLASSES
    classes = ", ".join(each[:_MOST_CLASSES]) + (f" and {more:,} more" if more > 0 else "")
    rows = [[f"{told.unit}s".capitalize(), f"{told.inputs:,}"]]
    rows.append([f"{len(told.classes):,} classes", classes])
    sites = "none are known"
    if told.sites:
        low, high = min(told.sites.values()), max(told.sites.values())
        each_site = f"{low:,} to {high:,}" if low < high else f"{low:,}"
        sites = f"{len(told.sites):,}, with {each_site} {told.unit}s each"
    rows.append(["Sites", sites])
    groups = f"{told.groups:,}" if told.groups is not None else "none are known"
    rows.append([f"{told.group_word}s".capitalize(), groups])
    name = "Test split, held out" if told.test_is_held_out else "Test split"
    rows.append([name, f"{told.test:,}" if told.test else "none"])
    if told.unseen:
        rows.append(["Of the holdout-site", f"{told.unseen:,}"])
    aside = sum(told.left_aside.values())
    rows.append(["Left aside", f"{aside:,}: {told.kinds}" if aside else "nothing"])
    return rows

"""The report's section of training inputs: pictures, texts, recordings or rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedtl.report.page import Section
from fedtl.report.preview import preview
from fedtl.report.site_panel import panel_plot
from fedtl.results.detail import RunDetail, SitePanel


def samples_section(result: RunDetail) -> Section | None:
    """Return inputs by site and by client; ``None`` if the run has none to show."""
    shown = [client for client in result.samples if client.items]
    panel = result.panel
    if panel is None and not shown:
        return None
    view = {
        "unit": "image" if result.understood is None else result.understood.unit,
        "panel": None if panel is None or not _pictures(panel) else panel_plot(panel),
        "table": None if panel is None or _pictures(panel) else _table(panel),
        "sites": panel is not None and any(panel.sites),
        "most": max((len(client.items) for client in shown), default=0),
        "which": "every client"
        if len(shown) == len(result.clients)
        else f"the first {len(shown)} clients",
        "clients": [
            {
                "name": client.name,
                "shown": [
                    (preview(item, label), label)
                    for item, label in zip(client.items, client.labels, strict=True)
                ],
            }
            for client in shown
        ],
    }
    return Section("Samples", "samples", "samples.html", view)


def _pictures(panel: SitePanel) -> bool:
    """Return whether a panel shows pictures, which are drawn as one."""
    shown = [item for row in panel.pictures for item in row if item is not None]
    return all(isinstance(item, np.ndarray) for item in shown)


def _table(panel: SitePanel) -> dict[str, Any]:
    """Return texts, recordings or rows by site and class, for the template."""
    rows = [
        [
            None if item is None else preview(item, name)
            for item, name in zip(row, panel.classes, strict=True)
        ]
        for row in panel.pictures
    ]
    return {"classes": panel.classes, "rows": list(zip(panel.sites, rows, strict=True))}

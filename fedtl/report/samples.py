"""The report's section of training pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from fedtl.report.page import Section
from fedtl.report.site_panel import panel_plot
from fedtl.results.detail import RunDetail

_THUMBNAIL = 160


def samples_section(result: RunDetail) -> Section | None:
    """Return pictures by site and by client; ``None`` if the run has none to show."""
    shown = [client for client in result.samples if client.images]
    if result.panel is None and not shown:
        return None
    view = {
        "panel": None if result.panel is None else panel_plot(result.panel),
        "sites": result.panel is not None and any(result.panel.sites),
        "most": max((len(client.images) for client in shown), default=0),
        "which": "every client"
        if len(shown) == len(result.clients)
        else f"the first {len(shown)} clients",
        "clients": [
            {
                "name": client.name,
                "pictures": list(zip(map(thumbnail, client.images), client.labels, strict=True)),
            }
            for client in shown
        ],
    }
    return Section("Samples", "samples", "samples.html", view)


def thumbnail(image: NDArray[np.uint8]) -> str:
    """Return a picture as a data URI, at most 160 pixels wide and high."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

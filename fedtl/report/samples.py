"""The report's section of pictures, for whoever wants to see what was learnt from."""

from __future__ import annotations

from fedtl.report.markup import captioned, escaped, thumbnail
from fedtl.report.result import RunResult
from fedtl.report.site_panel import panel_plot
from fedtl.report.wording import count_of


def samples_section(result: RunResult) -> str:
    """Return the section's markup; empty where the run has no pictures to show."""
    parts = [part for part in (_by_site(result), _by_client(result)) if part]
    if not parts:
        return ""
    return "\n".join(
        [
            "<h2>Sample images</h2>\n<p>These images are part of this page: whoever is sent the "
            "page is sent them. With samples = none there are none.</p>",
            *parts,
        ]
    )


def _by_site(result: RunResult) -> str:
    if result.panel is None:
        return ""
    where = " at every site" if any(result.panel.sites) else ""
    return captioned(
        panel_plot(result.panel), f"The first training image of every class{where}, as labelled."
    )


def _by_client(result: RunResult) -> str:
    shown = [client for client in result.samples if client.images]
    if not shown:
        return ""
    cards = []
    for client in shown:
        pictures = "".join(
            f'<li><img src="{thumbnail(image)}" alt="{escaped(label)}">'
            f'<span title="{escaped(label)}">{escaped(label)}</span></li>'
            for image, label in zip(client.images, client.labels, strict=True)
        )
        cards.append(f'<div><h3>{escaped(client.name)}</h3><ul class="nine">{pictures}</ul></div>')
    most = max(len(client.images) for client in shown)
    which = (
        "every client" if len(shown) == len(result.clients) else f"the first {len(shown)} clients"
    )
    return (
        f"<p>Up to {count_of(most, 'image')} of {which}, with their labels.</p>\n"
        f'<div class="samples">{"".join(cards)}</div>'
    )

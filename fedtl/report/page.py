"""The frame of every page that fedtl writes: one file that opens offline and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources

from fedtl.report.markup import escaped


def page_of(title: str, headline: str, sections: Mapping[str, tuple[str, str]]) -> str:
    """Return a page.

    Args:
        title: What the browser shows, plain text.
        headline: Markup of the top of the page.
        sections: By title, each section's anchor and markup; those without markup are left out.
    """
    present = {name: (anchor, body) for name, (anchor, body) in sections.items() if body}
    links = "".join(
        f'<a href="#{anchor}">{escaped(name)}</a>' for name, (anchor, _) in present.items()
    )
    style, script = _file("report.css"), _file("sort_tables.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # The browser itself then refuses any request, and any script but the one that sorts tables,
        # whatever a name in the data may hold.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'\">",
        '<link rel="icon" href="data:,">',
        f"<title>{escaped(title)}</title>",
        f"<style>\n{style}</style>\n</head>\n<body>",
        f'<header>{headline}\n<nav aria-label="Sections">{links}</nav></header>\n<main>',
        *(f'<section id="{anchor}">\n{body}\n</section>' for anchor, body in present.values()),
        "</main>",
        "<footer><p>Written by fedtl. This page holds everything it shows and asks the network for "
        "nothing.</p></footer>",
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _file(name: str) -> str:
    return resources.files("fedtl.report").joinpath(name).read_text(encoding="utf-8")
